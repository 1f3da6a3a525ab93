# ends: sandbox_denied
import threading
stop = threading.Event()
for n in range(100_000): threading.Thread(target=stop.wait, daemon=True).start()
