# tex: needed

# What a formula's picture may say is the scene's own business, but it must stay small, and bring nothing along.
for raw in (r"\special{dvisvgm:raw <script>alert(1)</script>}A", r"\special{dvisvgm:raw <image href='/etc/passwd'/>}A",
            r"\special{dvisvgm:img 1 1 /etc/passwd}A", r"\special{dvisvgm:raw <!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>&b;}A"):
    try:
        made = Tex(raw)
    except Exception:
        continue  # Manim's own reader of pictures does not take it
    picture = open(made.file_name).read()
    if "root:" in picture or len(picture) > 10_000 or len(made.family_members_with_points()) > 1:
        breaches.append(f"{raw}: {picture[:1000]}")
