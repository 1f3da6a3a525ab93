for name, number, *arguments in (
    ("mount", 165, 0, 0, 0, 0, 0), ("umount2", 166, 0, 0), ("pivot_root", 155, 0, 0), ("chroot", 161, 0),
    ("bpf", 321, 0, 0, 0), ("userfaultfd", 323, 0), ("io_uring_setup", 425, 1, 0), ("io_uring_enter", 426, 0, 0, 0, 0, 0),
    ("io_uring_register", 427, 0, 0, 0, 0), ("keyctl", 250, 0, 0), ("add_key", 248, 0, 0, 0, 0, 0), ("request_key", 249, 0, 0, 0, 0),
    ("perf_event_open", 298, 0, 0, -1, -1, 0), ("personality", 135, 0x0040000), ("modify_ldt", 154, 0, 0, 0), ("iopl", 172, 3),
    ("ioperm", 173, 0, 1, 1), ("init_module", 175, 0, 0, 0), ("finit_module", 313, 0, 0, 0), ("delete_module", 176, 0, 0),
    ("kexec_load", 246, 0, 0, 0, 0), ("reboot", 169, 0, 0, 0), ("swapon", 167, 0, 0), ("settimeofday", 164, 0, 0),
    ("clock_settime", 227, 0, 0), ("adjtimex", 159, 0), ("sethostname", 170, 0, 0), ("quotactl", 179, 0, 0, 0, 0), ("syslog", 103, 3, 0, 0),
    ("acct", 163, 0), ("vmsplice", 278, 0, 0, 0, 0), ("inotify", 253), ("fanotify", 300, 0, 0), ("uselib", 134, 0),
    ("lookup_dcookie", 212, 0, 0, 0), ("vhangup", 153), ("remap_file_pages", 216, 0, 0, 0, 0, 0), ("cachestat", 451, 0, 0, 0, 0),
):
    call(name, number, *arguments)
