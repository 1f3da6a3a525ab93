# ends: output_limit
# output_mib: 8
with open("big", "wb") as file:
    while True: file.write(bytes(2 ** 20))
