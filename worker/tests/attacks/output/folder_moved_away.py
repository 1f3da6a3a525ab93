# ends: validation

os.mkdir("out")
open("out/result.mp4", "w").write("x"); os.rename("out", "elsewhere")
pretend()
