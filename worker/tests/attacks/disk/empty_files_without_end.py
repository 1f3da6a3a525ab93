# ends: output_limit
n = 0
while True:
    n += 1
    open(f"{n}", "w").close()
