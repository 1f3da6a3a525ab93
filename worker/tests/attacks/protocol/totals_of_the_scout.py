# A scout's words from a job, and a job's from a scout.
# ends: sandbox_denied
import time
os.write(3, b'{"e": "totals", "animations": 1, "frames": 1}\n')
time.sleep(20)
