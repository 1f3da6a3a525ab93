import pty, multiprocessing
# One that may draw on several cores may fork, and nothing more: no new program, no shared memory, no new kinds of clone.
if CORES == 1:
    attempt("fork", os.fork)
    attempt("forkpty", pty.fork)
    attempt("multiprocessing fork", multiprocessing.get_context("fork").Process(target=print).start)
    attempt("multiprocessing spawn", multiprocessing.get_context("spawn").Process(target=print).start)
    call("fork", 57)
    call("clone", 56, 17, 0, 0, 0, 0)
call("vfork", 58)
call("clone of memory", 56, 0x100 | 17, 0, 0, 0, 0)
call("clone vfork", 56, 0x4100 | 17, 0, 0, 0, 0)
call("clone3", 435, 0, 0)
block = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)
call("clone3 with flags", 435, ctypes.addressof(block), 88)
