from multiprocessing import shared_memory
attempt("shm_open", shared_memory.SharedMemory, "planted", True, 4096)
for path in ("/dev/shm/planted", "/dev/mqueue/planted", "/dev/hugepages/planted"):
    attempt("write " + path, write, path)
for name, number, *arguments in (("shmget", 29, 0x1234, 4096, 0o1666), ("msgget", 68, 0x1234, 0o1666), ("semget", 64, 0x1234, 1, 0o1666),
                                 ("mq_open", 240, 0, 0), ("memfd_create", 319, 0, 0), ("memfd_secret", 447, 0)):
    call(name, number, *arguments)
