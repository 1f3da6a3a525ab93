# ends: out_of_memory, timeout
# memory_mib: 256
# wall: 4
hoard = []
while True:
    try: hoard.append(bytearray(2 ** 16))
    except BaseException: pass
