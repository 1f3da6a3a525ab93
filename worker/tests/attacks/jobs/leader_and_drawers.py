# ends: held, sandbox_denied
# cpu: 4
# wall: 20
# The first thread forks and ends: its children are another thread's then, and so is their time.
import threading
import time

drawers = []
for turn in range(2 if CORES > 1 else 0):
    drawer = os.fork()
    if drawer == 0:
        began = time.monotonic()
        while time.monotonic() - began < 15:
            pass
        os._exit(0)
    drawers.append(drawer)


def go_on():
    time.sleep(8)
    failed = {"e": "failed", "class": "scene_error", "message": "BREACH two drawers ran for 8 s each, with 4 s to have"}
    os.write(3, json.dumps(failed).encode() + b"\n")
    os._exit(1)


if drawers:
    threading.Thread(target=go_on).start()
    libc.syscall(ctypes.c_long(60), ctypes.c_long(0))
