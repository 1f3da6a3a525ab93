import signal
for pid in VICTIM_PIDS + [os.getppid(), 0, -1, -os.getppid(), 2, 3, 4, 5, 10, 100]:
    for number in (0, signal.SIGSTOP, signal.SIGKILL):
        if pid in (0, -1) or pid != os.getpid():
            attempt(f"kill {pid} {number}", os.kill, pid, number)
            call(f"tkill {pid}", 200, pid, number)
            call(f"tgkill {pid}", 234, pid, pid, number)
            call(f"rt_sigqueueinfo {pid}", 129, pid, number, 0)
            call(f"rt_tgsigqueueinfo {pid}", 297, pid, pid, number, 0)
    call(f"pidfd_open {pid}", 434, pid, 0)
    call("pidfd_send_signal", 424, 3, 9, 0, 0)
attempt("killpg", os.killpg, os.getpgid(0), signal.SIGKILL) if os.getpgid(0) > 1 else None
