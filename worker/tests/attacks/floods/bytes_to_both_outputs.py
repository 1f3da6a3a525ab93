# ends: output_limit
# log_mib: 2
data = bytes(range(256)) * 256
while True:
    os.write(1, data)
    os.write(2, data)
