# What the next job, or another tenant's, would read.
import importlib.util
for path in (importlib.util.cache_from_source(manim.__file__), "/var/cache/fontconfig/x.cache-7", "/var/lib/texmf/ls-R",
             os.path.dirname(os.__file__) + "/site-packages/x.pth", RENDERER + "/sitecustomize.py",
             "/usr/lib/python3/dist-packages/manim.py", "/usr/local/lib/python3.11/dist-packages/numpy.py"):
    attempt("write " + path, write, path)
