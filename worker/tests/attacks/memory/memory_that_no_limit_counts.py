attempt("memfd", os.memfd_create, "hoard")
call("memfd_secret", 447, 0)
pipes = []
for _ in range(300):
    try: pipes.append(os.pipe())
    except OSError: break
if len(pipes) > 260: breaches.append(f"{len(pipes)} pipes")
for pair in pipes:
    for fd in pair: os.close(fd)
import resource
for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC,
             resource.RLIMIT_MEMLOCK, resource.RLIMIT_CORE):
    soft, hard = resource.getrlimit(kind)
    def raise_it():
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try: raise_it()
    except (OSError, ValueError): continue
    breaches.append(f"limit {kind} raised from {hard}")
call("mlockall", 151, 3)
