# ends: sandbox_denied
held = []
while True: held.append(open("/dev/null"))
