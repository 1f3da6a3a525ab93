# tex: needed

def parts(tex): return len(Tex(tex).family_members_with_points())
def looks_like(tex, like):
    """The picture must have as many parts: TeX prints what it reads."""
    if parts(tex) != parts(like): breaches.append(f"{tex}: {parts(tex)} parts")
def refused(tex):
    try: Tex(tex)
    except ValueError: return
    breaches.append(f"set: {tex}")

# What a formula's picture may say is the scene's own business, but it must stay small and harmless.
for raw in (r"\special{dvisvgm:raw <script>alert(1)</script>}A", r"\special{dvisvgm:raw <image href='/etc/passwd'/>}A",
            r"\special{dvisvgm:img 1 1 /etc/passwd}A"):
    try: Tex(raw)
    except Exception: pass
