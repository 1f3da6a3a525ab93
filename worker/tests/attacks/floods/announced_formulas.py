# ends: sandbox_denied
while True: os.write(3, b'{"e": "tex_soon", "text": "x", "compiler": "latex", "extension": ".dvi"}\n')
