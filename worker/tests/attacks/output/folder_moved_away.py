# ends: validation

import json
def pretend(**more):
    os.write(3, json.dumps({"e": "done", "prepare_s": 0, "render_s": 0, "encode_s": 0, "frames": 9, "animations": 1, **more}).encode() + b"\n")
    os._exit(0)
os.mkdir("out")
open("out/result.mp4", "w").write("x"); os.rename("out", "elsewhere")
pretend()
