import stat
attempt("symlink", os.symlink, "/etc/passwd", "link")
attempt("fifo", os.mkfifo, "fifo")
attempt("socket", os.mknod, "sock", 0o600 | stat.S_IFSOCK)
attempt("device", os.mknod, "mem", 0o600 | stat.S_IFCHR, os.makedev(1, 1))
for path in (RENDERER + "/guard.py", manim.__file__, "/etc/passwd", "/usr/bin/su", SECRET_FILE):
    attempt("hard link to " + path, os.link, path, "mine")
attempt("symlink in /tmp", os.symlink, "/", os.environ["TMPDIR"] + "/root")
