# Machine code from a file of one's own: neither to start nor, as a set-user-id file, to leave behind.
import shutil
shutil.copyfile("/usr/bin/id", "mine")
try: os.chmod("mine", 0o6755)
except OSError: pass
attempt("exec of a file", os.execv, "./mine", ["mine"])
def memfd():
    fd = os.memfd_create("program")
    os.write(fd, read("/usr/bin/id"))
    os.execve(fd, ["id"], {})
attempt("exec of memory", memfd)
