# ends: sandbox_denied, timeout, held
# wall: 8
import threading
stop = threading.Event()
threading.stack_size(32768)
for n in range(20_000):
    try: threading.Thread(target=stop.wait, daemon=True).start()
    except BaseException: break
if threading.active_count() > 600: breaches.append(f"{threading.active_count()} threads")
