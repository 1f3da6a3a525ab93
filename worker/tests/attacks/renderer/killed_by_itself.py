# ends: scene_error, out_of_memory, validation
import signal
os.kill(os.getpid(), signal.SIGKILL)
os.abort()
