for folder in ("/", "/proc", "/dev", "/sys", "/var", "/run", "/etc", "/var/tmp", "/dev/shm", "/var/cache", "..", "../..",
               os.environ["TMPDIR"] + "/..", "/usr/local"):
    if folder == "/etc" and LEVEL == "full": continue  # of its own: five entries
    attempt("list " + folder, os.listdir, folder)
