# ends: sandbox_denied
line = b'{"e": "frames", "animation": 1, "frames": 1, "animation_frames": 1, "animation_frames_total": 1}\n'
while True: os.write(3, line * 500)
