# ends: output_limit, scene_error, out_of_memory, validation
# disk_mib: 24
# Files written through mappings, without a name, each held by one of its pages: what is mapped says nothing of their size.
import time

libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
SIZE, held = 2 ** 23, 0
for turn in range(25):
    with open("x", "w+b") as file:
        os.unlink("x")
        os.ftruncate(file.fileno(), SIZE)
        place = libc.mmap(None, SIZE, 3, 1, file.fileno(), 0)
        if place == 2 ** 64 - 1:
            raise OSError(ctypes.get_errno(), "mmap")
    # Page by page: at level `full` the first that finds no room ends the process.
    for page in range(place, place + SIZE, 4096):
        ctypes.memset(page, 1, 1)
    libc.munmap(place + 4096, SIZE - 4096)
    held += SIZE
time.sleep(2)
breaches.append(f"held {held >> 20} MiB of 24 for two seconds")
