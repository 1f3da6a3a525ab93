# ends: sandbox_denied

os.mkdir("out")
open("a", "w").write("x"); os.link("a", "out/result.mp4")
pretend()
