# ends: scene_error, out_of_memory, sandbox_denied, validation
# x32 has a table of its own, which no filter here names.
libc.syscall(ctypes.c_long(0x40000000 + 39))
