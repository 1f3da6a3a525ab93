for pid in VICTIM_PIDS + [os.getppid()]:
    attempt(f"mem of {pid}", read, f"/proc/{pid}/mem")
    call(f"ptrace attach {pid}", 101, 16, pid, 0, 0)
    call(f"ptrace seize {pid}", 101, 0x4206, pid, 0, 0)
    call(f"process_vm_readv {pid}", 310, pid, 0, 0, 0, 0, 0)
    call(f"process_vm_writev {pid}", 311, pid, 0, 0, 0, 0, 0)
    call(f"process_madvise {pid}", 440, pid, 0, 0, 0, 0)
    call(f"kcmp {pid}", 312, os.getpid(), pid, 0, 0, 0)
    call(f"move_pages {pid}", 279, pid, 0, 0, 0, 0, 0)
