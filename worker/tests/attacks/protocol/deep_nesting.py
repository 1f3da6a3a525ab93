# ends: sandbox_denied
import time
os.write(3, b"[" * 60_000 + b"\n")
time.sleep(20)
