# ends: sandbox_denied
import time
os.write(3, b'{"e": "unknown"}' + b"\n")
time.sleep(20)
