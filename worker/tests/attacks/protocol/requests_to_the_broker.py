import json
for request in (b'{"e": "tex"}', b'{"e": "tex", "text": 1, "compiler": "latex", "extension": ".dvi"}',
                b'{"e": "tex", "text": "x", "compiler": "../latex", "extension": ".dvi"}',
                b'{"e": "tex", "text": "x", "compiler": ["latex"], "extension": ".dvi"}',
                b'{"e": "tex", "text": "x", "compiler": "latex", "extension": ".dvi; id"}',
                b'{"e": "tex", "text": "x", "compiler": "latex\\u0000", "extension": ".dvi"}'):
    os.write(3, request + b"\n")
    if json.loads(os.read(4, 4096))["ok"]: breaches.append(str(request))
