# A pipe or file can be told to signal somebody else.
import fcntl, signal
for fd in (0, 1, 3, 4):
    attempt(f"F_SETOWN {fd}", fcntl.fcntl, fd, fcntl.F_SETOWN, -os.getppid() if os.getppid() else -1)
    attempt(f"F_SETOWN_EX {fd}", fcntl.fcntl, fd, 15, bytes(8))
    attempt(f"F_SETSIG {fd}", fcntl.fcntl, fd, 10, signal.SIGKILL)
    attempt(f"F_NOTIFY {fd}", fcntl.fcntl, fd, 1026, 1)
    attempt(f"lease {fd}", fcntl.fcntl, fd, 1024, 0)
    attempt(f"FIOSETOWN {fd}", fcntl.ioctl, fd, 0x8901, bytes(8))
