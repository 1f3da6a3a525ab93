# ends: out_of_memory
# memory_mib: 256
hoard = []
while True: hoard.append(bytearray(2 ** 20))
