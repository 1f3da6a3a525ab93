# A lock on a file that all may read, the system's or the renderer's, would hold whoever else locks it.
import fcntl

for path in (f"{RENDERER}/guard.py", os.__file__):
    with open(path, "rb") as first, open(path, "rb") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            breaches.append(f"locked {path}")
        attempt(f"record lock on {path}", fcntl.lockf, first, fcntl.LOCK_SH | fcntl.LOCK_NB)
