# ends: validation

os.mkdir(".manimq-out")
open(".manimq-out/result.mp4", "w").close()
pretend()
