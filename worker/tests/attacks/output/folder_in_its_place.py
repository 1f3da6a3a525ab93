# ends: sandbox_denied

os.mkdir(".manimq-out")
os.mkdir(".manimq-out/result.mp4")
pretend()
