# ends: sandbox_denied
import time
os.write(3, b'not json' + b"\n")
time.sleep(20)
