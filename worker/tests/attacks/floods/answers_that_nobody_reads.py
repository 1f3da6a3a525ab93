# ends: sandbox_denied
while True: os.write(3, b'{"e": "tex", "text": 7}\n')
