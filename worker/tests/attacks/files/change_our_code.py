for path in (RENDERER + "/guard.py", manim.__file__, os.__file__, sys.executable):
    before = os.stat(path)
    attempt("remove " + path, os.unlink, path)
    attempt("move " + path, os.rename, path, "mine.py")
    attempt("cover " + path, os.rename, "scene.py", path)
    attempt("truncate " + path, os.truncate, path, 0)
    attempt("append to " + path, open, path, "a")
    for change in (lambda: os.chmod(path, 0o777), lambda: os.utime(path, (1, 1)), lambda: os.chown(path, os.getuid(), -1),
                   lambda: os.setxattr(path, "user.x", b"x"), lambda: os.fchmod(os.open(path, os.O_RDONLY), 0o777)):
        try: change()
        except OSError: pass
    after = os.stat(path)
    if (before.st_mode, before.st_mtime, before.st_uid) != (after.st_mode, after.st_mtime, after.st_uid):
        breaches.append(f"changed {path}")
