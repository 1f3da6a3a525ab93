# ends: output_limit
# disk_mib: 24
n = 0
while True:
    n += 1
    with open(f"{n}", "wb") as file: file.write(bytes(2 ** 20))
