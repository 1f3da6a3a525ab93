# ends: out_of_memory, scene_error
# wall: 120
# memory_mib: 256
# within: 60
sys.setrecursionlimit(10 ** 9)
def deep(n): return deep(n + 1)
deep(0)
