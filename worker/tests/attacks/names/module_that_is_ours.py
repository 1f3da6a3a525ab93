# ends: held, scene_error, validation
for name in ("guard.py", "manim.py", "numpy.py", "job.py", "encodings.py"):
    open(name, "w").write("raise SystemExit")
