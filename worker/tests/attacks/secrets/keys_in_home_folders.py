for home in ("/root", "/home", "/var/lib", "/work", "/srv", "/mnt", os.path.expanduser("~root")):
    attempt("list " + home, os.listdir, home)
    for name in (".bashrc", ".ssh/id_rsa", ".aws/credentials", ".config/gcloud/credentials.db", ".kube/config", ".env"):
        attempt(f"read {home}/{name}", read, f"{home}/{name}")
attempt("a file of the worker", read, SECRET_FILE)
attempt("its folder", os.listdir, os.path.dirname(SECRET_FILE))
