# ends: sandbox_denied

import json
def pretend(**more):
    os.write(3, json.dumps({"e": "done", "prepare_s": 0, "render_s": 0, "encode_s": 0, "frames": 9, "animations": 1, **more}).encode() + b"\n")
    os._exit(0)
os.mkdir("out")

import av
with av.open("out/result.mp4", "w", format="mp4") as film:
    stream = film.add_stream("libx264", rate=15); stream.width = stream.height = 64; stream.pix_fmt = "yuv420p"
    film.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
    film.mux(stream.encode())
data = bytearray(open("out/result.mp4", "rb").read())
for at in range(0, len(data), 7): data[at] ^= 0x55
open("out/result.mp4", "wb").write(data)
pretend(frames=10**9, engine=["stream"], animations=-1, prepare_s="x")
