# A process that ignores its children gets nothing of the time they took, and so could take any.
import signal

for action in (signal.SIG_IGN, print):
    attempt(f"SIGCHLD to {action}", signal.signal, signal.SIGCHLD, action)
SA_NOCLDWAIT = 2
block = (ctypes.c_uint64 * 4)(0, SA_NOCLDWAIT)
call("rt_sigaction", 13, signal.SIGCHLD, ctypes.addressof(block), 0, 8)
if CORES > 1:
    child = os.fork()
    if child == 0:
        os._exit(7)
    if os.waitpid(child, 0)[1] != 7 << 8:
        breaches.append("a child was not to be waited for")
