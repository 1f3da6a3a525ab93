import fcntl
for fd in (0, 1, 2):
    for name, number in (("TIOCSTI", 0x5412), ("TIOCSCTTY", 0x540e), ("TIOCLINUX", 0x541c), ("TIOCNOTTY", 0x5422), ("TIOCSWINSZ", 0x5414),
                         ("FIOASYNC", 0x5452), ("TIOCSTI high bits", 0x5412 | 1 << 32)):
        attempt(f"{name} {fd}", lambda: call_now(name, 16, fd, number, 0))
