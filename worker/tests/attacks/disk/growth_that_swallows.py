# ends: output_limit, timeout
# disk_mib: 24
# wall: 5
n = 0
while True:
    n += 1
    try:
        with open(f"{n % 4000}", "ab") as file: file.write(bytes(2 ** 18))
    except BaseException: pass
