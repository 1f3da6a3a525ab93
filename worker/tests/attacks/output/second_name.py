# ends: sandbox_denied

os.mkdir(".manimq-out")
open("a", "w").write("x"); os.link("a", ".manimq-out/result.mp4")
pretend()
