# Whoever waits for the disk makes all others wait for it: no flush reaches it, nor writes that go past the cache.
import fcntl

libc.msync.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
if libc.msync(None, 4096, 4) != 0:
    breaches.append("msync reached the kernel")
with open("f", "wb") as file:
    os.fsync(file.fileno())
    os.fdatasync(file.fileno())
    attempt("F_SETFL O_DIRECT", fcntl.fcntl, file.fileno(), fcntl.F_SETFL, os.O_DIRECT)
    fcntl.fcntl(file.fileno(), fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK)
SYNC_ALONE = os.O_SYNC & ~os.O_DSYNC
for name, flag in (("O_SYNC", os.O_SYNC), ("O_DSYNC", os.O_DSYNC), ("__O_SYNC", SYNC_ALONE), ("O_DIRECT", os.O_DIRECT)):
    attempt(f"openat {name}", os.open, "f", os.O_RDWR | flag)
    path = ctypes.create_string_buffer(b"f")
    call(f"open {name}", 2, ctypes.addressof(path), os.O_RDWR | flag)
call("sync", 162)
call("syncfs", 306, 1)
call("pwritev2", 328, 1, 0, 0, 0, 0, 4)
