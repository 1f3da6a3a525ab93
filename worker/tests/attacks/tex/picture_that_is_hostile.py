# tex: needed

# What a formula's picture may say is the scene's own business, but it must stay small and harmless.
for raw in (r"\special{dvisvgm:raw <script>alert(1)</script>}A", r"\special{dvisvgm:raw <image href='/etc/passwd'/>}A",
            r"\special{dvisvgm:img 1 1 /etc/passwd}A"):
    try: Tex(raw)
    except Exception: pass
