for name, number, *arguments in (("seccomp", 317, 0, 0, 0), ("seccomp filter", 317, 1, 0, 0), ("prctl seccomp", 157, 22, 0, 0, 0, 0), ("landlock", 446, -1, 0),
                                 ("landlock_create_ruleset", 444, 0, 0, 1), ("PTRACER any", 157, 0x59616d61, -1), ("dumpable", 157, 4, 1, 0, 0, 0),
                                 ("keepcaps", 157, 8, 1, 0, 0, 0), ("pdeathsig", 157, 1, 0, 0, 0, 0), ("subreaper", 157, 36, 1, 0, 0, 0),
                                 ("securebits", 157, 28, 0, 0, 0, 0), ("ambient", 157, 47, 2, 0, 0, 0)):
    call(name, number, *arguments)
