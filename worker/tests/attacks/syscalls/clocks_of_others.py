# The clock of another process tells what it does and when; the kernel asks for no right to it.
import time
place = ctypes.create_string_buffer(64)
for pid in [*VICTIM_PIDS, os.getppid() or 3, 2]:
    for kind in (0, 1, 2):
        clock = (~pid << 3) | kind
        call(f"time of {pid}", 228, clock, ctypes.addressof(place))
        call(f"resolution for {pid}", 229, clock, ctypes.addressof(place))
        call(f"sleep by {pid}", 230, clock, 0, ctypes.addressof(place), 0)
        call(f"timer on {pid}", 222, clock, 0, ctypes.addressof(place))
# Its own are there.
assert min(time.monotonic(), time.process_time(), time.thread_time(), time.time()) > 0
# Nobody has to wait for the disk because of a job, nor to read again what everybody uses.
with open(manim.__file__, "rb") as file:
    began = time.process_time()
    for _ in range(1000):
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
