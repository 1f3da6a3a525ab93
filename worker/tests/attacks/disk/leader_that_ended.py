# ends: sandbox_denied, output_limit, validation
# disk_mib: 24
# wall: 20
# The first thread ends and another goes on: of such a process nobody is shown its descriptors and mappings.
import threading
import time


def go_on():
    time.sleep(0.3)
    held = []
    for turn in range(20):
        file = open("x", "wb", buffering=0)
        os.unlink("x")
        file.write(bytes(2 ** 22))
        held.append(file)
        time.sleep(0.03)
    time.sleep(4)
    failed = {"e": "failed", "class": "scene_error", "message": "BREACH held 80 MiB of 24 without a first thread"}
    os.write(3, json.dumps(failed).encode() + b"\n")
    os._exit(1)


threading.Thread(target=go_on).start()
libc.syscall(ctypes.c_long(60), ctypes.c_long(0))
