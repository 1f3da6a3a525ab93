places = ["/", "/usr", "/usr/lib", "/opt", "/etc", "/etc/fonts", "/var/cache/fontconfig", "/var/lib/texmf", "/dev",
          "/dev/shm", "/texjob", "/proc", "/run", "/var/tmp", "..", "../tex", os.environ["TMPDIR"] + "/..", RENDERER,
          os.path.dirname(RENDERER), os.path.dirname(manim.__file__), os.path.dirname(os.__file__)]
if LEVEL == "container": places += ["/tmp", AREAS]
for folder in places:
    attempt("write below " + folder, write, folder + "/planted")
    attempt("mkdir below " + folder, os.mkdir, folder + "/planted")
    attempt("nameless file below " + folder, os.open, folder, os.O_TMPFILE | os.O_RDWR)
