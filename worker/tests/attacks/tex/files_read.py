# tex: needed

for path in ("/etc/passwd", RENDERER + "/guard.py", "../../../etc/passwd", "/proc/self/environ", SECRET_FILE, os.getcwd() + "/scene.py"):
    refused(r"\input{" + path + "}")
    looks_like(r"\newread\f\openin\f=" + path + r" \ifeof\f A\else BREACH\fi", "A")
