# ends: output_limit, scene_error, out_of_memory, validation
# disk_mib: 24
# A process's mappings are told line by line: a name with what some take for the end of one makes two of it.
import time

libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
SIZE, held = 2 ** 22, 0
for turn, end in zip(range(25), ["\r", "\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"] * 4):
    name = f"x{end}y"
    with open(name, "w+b") as file:
        os.unlink(name)
        os.ftruncate(file.fileno(), SIZE)
        place = libc.mmap(None, SIZE, 3, 1, file.fileno(), 0)
        if place == 2 ** 64 - 1:
            raise OSError(ctypes.get_errno(), "mmap")
    for page in range(place, place + SIZE, 4096):
        ctypes.memset(page, 1, 1)
    held += SIZE
time.sleep(2)
breaches.append(f"held {held >> 20} MiB of 24 for two seconds")
