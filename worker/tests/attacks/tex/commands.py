# tex: needed

def parts(tex): return len(Tex(tex).family_members_with_points())
def looks_like(tex, like):
    """The picture must have as many parts: TeX prints what it reads."""
    if parts(tex) != parts(like): breaches.append(f"{tex}: {parts(tex)} parts")
def refused(tex):
    try: Tex(tex)
    except ValueError: return
    breaches.append(f"set: {tex}")

looks_like(r"\immediate\write18{echo A > planted.tex}A\IfFileExists{planted.tex}{BREACH}{}", "A")
refused(r'\input{|"id"}')
