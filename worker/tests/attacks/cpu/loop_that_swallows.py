# ends: timeout
# wall: 1
while True:
    try:
        while True: n = 1
    except BaseException: pass
