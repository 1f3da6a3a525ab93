# ends: validation

os.mkdir("out")
open("out/result.mp4", "w").close()
pretend()
