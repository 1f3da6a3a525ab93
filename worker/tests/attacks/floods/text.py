# ends: output_limit
# log_mib: 2
while True: print("x" * 1000)
