# ends: out_of_memory
# memory_mib: 256
import mmap
hoard = []
while True:
    piece = mmap.mmap(-1, 2 ** 22)
    piece[::4096] = b"x" * 1024
    hoard.append(piece)
