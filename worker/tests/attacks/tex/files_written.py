# tex: needed

places = [os.getcwd(), os.environ["TMPDIR"], "..", "/tmp"]
for place in places:
    try: Tex(r"\newwrite\f\immediate\openout\f=" + place + r"/planted.tex \immediate\write\f{x}A")
    except ValueError: pass
    if os.path.exists(place + "/planted.tex"): breaches.append(place)
