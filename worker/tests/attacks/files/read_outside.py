for path in ("/proc/self/environ", "/proc/self/maps", "/proc/self/mem", "/proc/version", "/proc/cpuinfo", "/proc/mounts",
             *(f"/proc/{process}/root" + "/etc/passwd" for process in (1, "self")), "/sys/kernel/uevent_seqnum",
             "/sys/class/net/lo/address", "/dev/full", "/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/vda", "/dev/sda",
             "/home", RENDERER + "/../../../../etc/shadow", "//etc/passwd", "/usr/../etc/passwd"):
    attempt("read " + path, read, path)
