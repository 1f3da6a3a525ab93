# ends: sandbox_denied
import time
os.write(3, b'null' + b"\n")
time.sleep(20)
