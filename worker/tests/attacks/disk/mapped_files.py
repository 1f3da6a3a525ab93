# ends: output_limit, scene_error, out_of_memory, validation
# disk_mib: 24
import mmap
n = 0
while True:
    n += 1
    with open(f"{n}", "w+b") as file:
        os.ftruncate(file.fileno(), 2 ** 22)
        with mmap.mmap(file.fileno(), 2 ** 22) as view: view[::4096] = b"x" * 1024
