# ends: sandbox_denied
import time
os.write(3, b'{"e": ["frames"]}' + b"\n")
time.sleep(20)
