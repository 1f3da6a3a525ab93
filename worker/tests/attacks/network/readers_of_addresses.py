# Manim, FFmpeg and friends open addresses by themselves.
import av
for address in ("http://127.0.0.1:1/x.mp4", "tcp://127.0.0.1:1", "rtmp://127.0.0.1/x", "udp://127.0.0.1:1", "concat:/etc/passwd|/etc/passwd",
                "file:/etc/passwd", "subfile,,start,0,end,100,,:/etc/passwd", "unix:/run/x", "fd:3", "crypto:/etc/passwd"):
    try:
        with av.open(address, timeout=2) as found: breaches.append(f"{address} {found}")
    except Exception: pass
try: breaches.append(str(SVGMobject("/etc/passwd")))
except Exception: pass
try: breaches.append(str(ImageMobject("http://127.0.0.1:1/x.png")))
except Exception: pass
