# tex: needed

# Without --no-specials=ps the first draws a line, the second runs a program.
import time
looks_like(r"A\special{ps: newpath 0 0 moveto 100 100 lineto stroke}", "A")
began = time.monotonic()
looks_like(r"\catcode37=12 A\special{ps: (%pipe%sleep 30) (r) file closefile}", "A")
if time.monotonic() - began > 20: breaches.append("the pipe ran")
looks_like(r'A\special{ps: (planted.svg) (w) file closefile}\special{psfile=/etc/passwd}', "A")
looks_like(r"A\special{header=/etc/passwd}\special{pdf: literal x}", "A")
