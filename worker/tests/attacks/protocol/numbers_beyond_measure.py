# ends: sandbox_denied, held
import time
for line in (b'{"e": "frames", "frames": ' + b"9" * 4000 + b"}", b'{"e": "frames", "frames": -1, "animation": 1e999}',
             b'{"e": "frames", "frames": NaN, "animation": Infinity}', b'{"e": "frames", "frames": true, "animation": "x"}'):
    os.write(3, line + b"\n")
