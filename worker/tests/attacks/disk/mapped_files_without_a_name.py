# ends: output_limit, scene_error, out_of_memory, validation
# disk_mib: 24
# Neither a name nor a descriptor: Python's own mapping would keep one.
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
while True:
    with open("x", "w+b") as file:
        os.unlink("x")
        os.ftruncate(file.fileno(), 2 ** 22)
        place = libc.mmap(None, 2 ** 22, 3, 1, file.fileno(), 0)
        if place == 2 ** 64 - 1:
            raise OSError(ctypes.get_errno(), "mmap")
    for page in range(place, place + 2 ** 22, 4096):
        ctypes.memset(page, 1, 1024)
