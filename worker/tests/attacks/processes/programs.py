import subprocess
attempt("subprocess", subprocess.run, ["/usr/bin/id"])
attempt("shell", subprocess.run, "id", shell=True)
attempt("posix_spawn", os.posix_spawn, "/usr/bin/id", ["id"], {})
attempt("execv", os.execv, "/usr/bin/id", ["id"])
attempt("execveat", lambda: call_now("execveat", 322, -100, 0, 0, 0, 0))
attempt("fexecve", os.execve, os.open("/usr/bin/id", os.O_RDONLY), ["id"], {})
def system():
    status = os.system("id")
    if status != 0: raise OSError(status)
attempt("system", system)
def popen():
    if os.popen("id").read(): return "output"
    raise OSError
attempt("popen", popen)
