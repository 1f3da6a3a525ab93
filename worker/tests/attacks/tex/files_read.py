# tex: needed

def parts(tex): return len(Tex(tex).family_members_with_points())
def looks_like(tex, like):
    """The picture must have as many parts: TeX prints what it reads."""
    if parts(tex) != parts(like): breaches.append(f"{tex}: {parts(tex)} parts")
def refused(tex):
    try: Tex(tex)
    except ValueError: return
    breaches.append(f"set: {tex}")

for path in ("/etc/passwd", RENDERER + "/guard.py", "../../../etc/passwd", "/proc/self/environ", SECRET_FILE, os.getcwd() + "/scene.py"):
    refused(r"\input{" + path + "}")
    looks_like(r"\newread\f\openin\f=" + path + r" \ifeof\f A\else BREACH\fi", "A")
