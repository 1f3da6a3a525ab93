# ends: timeout
# wall: 2
import signal, time
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
signal.signal(signal.SIGALRM, lambda *_: None)
try: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
except OSError: pass
else: breaches.append("real-time priority")
try: os.nice(-20)
except OSError: pass
else: breaches.append("nice -20")
if breaches: raise RuntimeError(f"BREACH {breaches}")
while True: time.sleep(10)
