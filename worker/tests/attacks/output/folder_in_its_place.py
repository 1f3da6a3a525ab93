# ends: sandbox_denied

os.mkdir("out")
os.mkdir("out/result.mp4")
pretend()
