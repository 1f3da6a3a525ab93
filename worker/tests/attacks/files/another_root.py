attempt("chroot", os.chroot, ".")
attempt("pivot_root", lambda: call_now("pivot_root", 155, 0, 0))
os.makedirs("a/b", exist_ok=True)
os.chdir("a/b")
for _ in range(20):
    try: os.chdir("..")
    except OSError: break
attempt("read from above", read, "etc/passwd")
attempt("list from above", os.listdir, ".") if os.getcwd() == "/" else None
os.chdir(os.environ["HOME"])
attempt("by descriptor", lambda: os.open("../../../etc/passwd", os.O_RDONLY, dir_fd=os.open(".", os.O_PATH)))
