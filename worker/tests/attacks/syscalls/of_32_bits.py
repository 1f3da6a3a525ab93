# ends: scene_error, out_of_memory, sandbox_denied, validation
# int 0x80 with the old table, where 2 is fork.
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("b802000000cd80c3"))
result = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
raise RuntimeError(f"BREACH {result}")
