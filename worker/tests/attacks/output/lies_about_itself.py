# ends: sandbox_denied

os.mkdir(".manimq-out")

import av
with av.open(".manimq-out/result.mp4", "w", format="mp4") as film:
    stream = film.add_stream("libx264", rate=15); stream.width = stream.height = 64; stream.pix_fmt = "yuv420p"
    film.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
    film.mux(stream.encode())
data = bytearray(open(".manimq-out/result.mp4", "rb").read())
for at in range(0, len(data), 7): data[at] ^= 0x55
open(".manimq-out/result.mp4", "wb").write(data)
pretend(frames=10**9, engine=["stream"], animations=-1, prepare_s="x")
