import socket
for family in range(0, 46):
    for kind in (1, 2, 3, 5, 1 | 0o4000, 2 | 0o2000000):
        attempt(f"socket {family} {kind}", socket.socket, family, kind)
call("raw socketcall number", 41, 16, 3, 0)
