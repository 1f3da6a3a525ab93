# wall: 20
def bomb():
    started = 0
    for _ in range(100_000):
        try:
            if os.fork() == 0: os._exit(0)
            started += 1
        except OSError: pass
    return started
if bomb(): breaches.append("forked")
