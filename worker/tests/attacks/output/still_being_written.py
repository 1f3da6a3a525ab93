# ends: sandbox_denied, validation, scene_error

import json
def pretend(**more):
    os.write(3, json.dumps({"e": "done", "prepare_s": 0, "render_s": 0, "encode_s": 0, "frames": 9, "animations": 1, **more}).encode() + b"\n")
    os._exit(0)
os.mkdir("out")

# Threads go on writing while the process says that it is done.
import threading
def write_on():
    while True: open("out/result.mp4", "wb").write(os.urandom(5000))
for _ in range(4): threading.Thread(target=write_on, daemon=True).start()
import time; time.sleep(0.2)
pretend()
