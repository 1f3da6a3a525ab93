# ends: out_of_memory
# memory_mib: 256
np.ones((2 ** 30,))
