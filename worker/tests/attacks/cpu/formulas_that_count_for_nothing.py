# ends: timeout
# tex: needed
# cpu: 4
# wall: 60
# within: 60
# TeX works for the job, so its time is the job's.
import time

# A second or so each.
LONG = r"\documentclass{article}\begin{document}\newcount\n\loop\ifnum\n<3000000\advance\n1\repeat %d\end{document}"
for n in range(20):
    soon = {"e": "tex_soon", "text": LONG % n, "compiler": "latex", "extension": ".dvi"}
    os.write(3, json.dumps(soon).encode() + b"\n")
time.sleep(30)
breaches.append("twenty formulas were set, of a second each, with 4 s to have")
