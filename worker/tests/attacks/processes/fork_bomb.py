# wall: 20
import time
def bomb():
    started = 0
    for _ in range(100_000):
        try:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            started += 1
        except OSError:
            if CORES > 1: break
    return started
started = bomb()
# One that may draw on several cores may fork, up to its limit.
if started > (0 if CORES == 1 else 200): breaches.append(f"forked {started} times")
