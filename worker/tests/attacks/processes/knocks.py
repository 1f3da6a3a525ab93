# ends: held, sandbox_denied
# wall: 40
# within: 60
# Knocks at the gate without end: each is the guard's work, not the job's.
import threading

FORK = 0x0100_0000 | 0x0020_0000 | 17
THREADS, KNOCKS = 16, 2000


def knock():
    function, clone, flags, nothing = libc.syscall, ctypes.c_long(56), ctypes.c_long(FORK), ctypes.c_long(0)
    for turn in range(KNOCKS):
        # Another than the first thread is never let in.
        function(clone, flags, nothing, nothing, nothing, nothing)


if CORES > 1:
    threads = [threading.Thread(target=knock) for turn in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    breaches.append(f"{THREADS * KNOCKS} knocks were answered")
