# ends: sandbox_denied

os.mkdir(".manimq-out")

import av
with av.open(".manimq-out/result.mp4", "w", format="matroska") as film:
    stream = film.add_stream("libx264", rate=15); stream.width = stream.height = 64; stream.pix_fmt = "yuv420p"
    for _ in range(5): film.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
    film.mux(stream.encode())
pretend()
