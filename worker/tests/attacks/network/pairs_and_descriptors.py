import socket
attempt("socketpair", socket.socketpair)
for fd in range(0, 10):
    for name, number in (("connect", 42), ("accept", 43), ("sendto", 44), ("sendmsg", 46), ("recvmsg", 47), ("shutdown", 48),
                         ("bind", 49), ("listen", 50), ("getsockname", 51), ("setsockopt", 54), ("accept4", 288), ("sendmmsg", 307)):
        call(f"{name} {fd}", number, fd, 0, 0, 0, 0, 0)
