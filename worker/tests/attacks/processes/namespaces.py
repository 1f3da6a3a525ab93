for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("pid", 0x20000000), ("net", 0x40000000), ("ipc", 0x8000000),
                   ("uts", 0x4000000), ("cgroup", 0x2000000), ("time", 0x80)):
    call("unshare " + name, 272, flag)
    call("clone " + name, 56, flag | 17, 0, 0, 0, 0)
    call("thread with " + name, 56, flag | 0x10f00, 0, 0, 0, 0) if name != "time" else None
    call("setns " + name, 308, 3, flag)
