for path in ("/proc/self/environ", "/proc/self/maps", "/proc/self/mem", "/proc/version", "/proc/cpuinfo", "/proc/mounts",
             "/proc/1/root/etc/passwd", "/proc/self/root/etc/passwd", "/sys/kernel/uevent_seqnum",
             "/sys/class/net/lo/address", "/dev/full", "/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/vda", "/dev/sda",
             "/home", RENDERER + "/../../../../etc/shadow", "//etc/passwd", "/usr/../etc/passwd"):
    attempt("read " + path, read, path)
