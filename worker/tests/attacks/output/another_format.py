# ends: sandbox_denied

import json
def pretend(**more):
    os.write(3, json.dumps({"e": "done", "prepare_s": 0, "render_s": 0, "encode_s": 0, "frames": 9, "animations": 1, **more}).encode() + b"\n")
    os._exit(0)
os.mkdir("out")

import av
with av.open("out/result.mp4", "w", format="matroska") as film:
    stream = film.add_stream("libx264", rate=15); stream.width = stream.height = 64; stream.pix_fmt = "yuv420p"
    for _ in range(5): film.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
    film.mux(stream.encode())
pretend()
