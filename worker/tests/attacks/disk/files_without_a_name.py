# ends: output_limit, sandbox_denied
# disk_mib: 24
held = []
while True:
    file = open("x", "wb")
    os.unlink("x")
    file.write(bytes(2 ** 22))
    file.flush()
    held.append(file)
