# ends: sandbox_denied
import time
os.write(3, b'{"e": "stage", "stage": "\xff\xfe"}\n\x00\x00\n')
time.sleep(20)
