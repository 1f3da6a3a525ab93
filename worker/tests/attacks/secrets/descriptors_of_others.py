# An open file of a process of the same user can be opened again through /proc.
for pid in (str(os.getppid() or 2), *map(str, VICTIM_PIDS), *map(str, WORKER_PIDS)):
    attempt(f"list fds of {pid}", os.listdir, f"/proc/{pid}/fd")
    for link in ("cwd", "root", "exe"):
        attempt(f"{link} of {pid}", os.readlink, f"/proc/{pid}/{link}")
    for fd in range(0, 12):
        attempt(f"open fd {fd} of {pid}", os.open, f"/proc/{pid}/fd/{fd}", os.O_RDONLY)
        call(f"pidfd_getfd {fd}", 438, 3, fd, 0)
