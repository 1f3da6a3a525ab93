# ends: sandbox_denied
while True: os.write(3, b"x" * 65536)
