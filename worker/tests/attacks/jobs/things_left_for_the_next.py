# The good scene that follows looks for all of this.
import builtins, random
builtins.planted = True
sys.modules["planted"] = sys
sys.path.insert(0, os.getcwd())
Scene.planted = True
open("planted.py", "w").write("x")
open(os.environ["TMPDIR"] + "/planted.py", "w").write("x")
os.environ["PLANTED"] = "x"
os.umask(0)
try: os.nice(5)
except OSError: pass
random.seed(1)
np.random.seed(1)
import atexit, threading, time
atexit.register(lambda: open("late", "w").write("x"))
threading.Thread(target=lambda: time.sleep(3600), daemon=True).start()
