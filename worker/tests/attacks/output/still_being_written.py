# ends: sandbox_denied, validation, scene_error

os.mkdir(".manimq-out")

# Threads go on writing while the process says that it is done.
import threading
def write_on():
    while True: open(".manimq-out/result.mp4", "wb").write(os.urandom(5000))
for _ in range(4): threading.Thread(target=write_on, daemon=True).start()
import time; time.sleep(0.2)
pretend()
