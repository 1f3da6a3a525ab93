# What the kernel counts per user, of which one job could leave nothing to others; and tables of descriptors of one's own,
# each with a limit of its own and files that nobody sees.
import fcntl
call("epoll_create1", 291, 0)
call("epoll_create", 213, 9)
call("epoll_ctl", 233, 0, 1, 1, 0)
call("close_range in a table of one's own", 436, 900, 900, 2)
CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD = 0x100, 0x200, 0x400, 0x800, 0x10000
call("thread with a table of its own", 56, CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD, 0, 0, 0, 0)
call("thread with a folder of its own", 56, CLONE_VM | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, 0, 0, 0, 0)
reading, writing = os.pipe()
attempt("pipe of a megabyte", fcntl.fcntl, writing, 1031, 2 ** 20)
call("inotify_init1", 294, 0)
call("fanotify_init", 300, 0, 0)
call("io_setup", 206, 100, 0)
call("memfd_create", 319, 0, 0)
TIMER_CREATE, CLOCK_MONOTONIC = 222, 1
timer = ctypes.c_int()
timers = 0
try:
    while timers < 1000:
        call_now("timer_create", TIMER_CREATE, CLOCK_MONOTONIC, 0, ctypes.addressof(timer))
        timers += 1
except OSError:
    pass
if timers > 256:
    breaches.append(f"{timers} timers")
