# ends: output_limit, timeout
# disk_mib: 24
# wall: 15
# Out of sight of who counts: what is moved while he walks may be missed.
import threading
os.makedirs("a/in"); os.makedirs("b")
def dance():
    while True:
        try: os.rename("a/in", "b/in"); os.rename("b/in", "a/in")
        except OSError: pass
threading.Thread(target=dance, daemon=True).start()
n = 0
while True:
    n += 1
    for place in ("a", "b"):
        try:
            with open(f"{place}/in/{n}", "wb") as file: file.write(bytes(2 ** 18))
        except FileNotFoundError: pass
