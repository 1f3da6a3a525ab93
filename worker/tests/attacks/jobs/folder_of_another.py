# Another tenant's job runs at this moment; at level container its folder has a path.
for folder in filter(None, (VICTIM_DIR, AREAS, os.path.dirname(VICTIM_DIR), VICTIM_DIR + "/work")):
    attempt("list " + folder, os.listdir, folder)
    attempt("write " + folder, write, folder + "/planted")
    attempt("remove " + folder, os.rmdir, folder)
    attempt("move " + folder, os.rename, folder, "mine")
    attempt("enter and list " + folder, lambda: (os.chdir(folder), os.listdir(".")))
    os.chdir(os.environ["HOME"])
for path in (VICTIM_DIR + "/work/scene.py", VICTIM_DIR + "/work/secret.txt"):
    attempt("read " + path, read, path)
    attempt("write " + path, write, path)
    attempt("link " + path, os.link, path, "mine")
