# ends: validation

os.mkdir(".manimq-out")
open(".manimq-out/result.mp4", "w").write("x"); os.rename(".manimq-out", "elsewhere")
pretend()
