# ends: held, scene_error
import atexit, gc, threading
def evil(*arguments): raise SystemExit
sys.excepthook = threading.excepthook = sys.unraisablehook = evil
gc.callbacks.append(evil)
sys.setswitchinterval(1e-9)
