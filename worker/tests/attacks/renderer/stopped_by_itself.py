# ends: timeout, held
# wall: 2
# As pid 1 of a namespace it cannot stop at all.
import signal
os.kill(os.getpid(), signal.SIGSTOP)
