# ends: sandbox_denied
import time
line = b'{"e": "tex", "text": "x", "compiler": "latex", "extension": ".dvi"}\n'
os.write(3, line + line)
time.sleep(20)
