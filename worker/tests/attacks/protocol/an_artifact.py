# ends: sandbox_denied
import time
os.write(3, b'{"type": "artifact", "name": "x"}' + b"\n")
time.sleep(20)
