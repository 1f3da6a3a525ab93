# With the renderer's own code, which is in memory.
from manimq_renderer import linux, walls
attempt("unshare", linux.unshare, linux.CLONE_NEWNS)
attempt("mount", linux.mount_tmpfs, "/tmp", 0, "size=1m")
attempt("unmount", linux.unmount, "/proc")
attempt("make the folders", walls.make_job_folders) if LEVEL == "container" else None
attempt("setns", linux.setns, 3, 0)
attempt("setuid", os.setuid, 0)
attempt("setgroups", os.setgroups, [0])
call("capset", 126, 0, 0)
