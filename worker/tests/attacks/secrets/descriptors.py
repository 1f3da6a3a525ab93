# 0 null, 1 and 2 log, 3 events, 4 replies, 5 crash report; 6 was the source.
open_fds = []
for fd in range(0, 1024):
    try: os.fstat(fd); open_fds.append(fd)
    except OSError: pass
if open_fds != [0, 1, 2, 3, 4, 5]: breaches.append(f"descriptors {open_fds}")
if os.getuid() == 0 or os.geteuid() == 0 or os.getgid() == 0 or 0 in os.getgroups(): breaches.append("root")
