# tex: needed

def parts(tex): return len(Tex(tex).family_members_with_points())
def looks_like(tex, like):
    """The picture must have as many parts: TeX prints what it reads."""
    if parts(tex) != parts(like): breaches.append(f"{tex}: {parts(tex)} parts")
def refused(tex):
    try: Tex(tex)
    except ValueError: return
    breaches.append(f"set: {tex}")

places = [os.getcwd(), os.environ["TMPDIR"], "..", "/tmp"]
for place in places:
    try: Tex(r"\newwrite\f\immediate\openout\f=" + place + r"/planted.tex \immediate\write\f{x}A")
    except ValueError: pass
    if os.path.exists(place + "/planted.tex"): breaches.append(place)
