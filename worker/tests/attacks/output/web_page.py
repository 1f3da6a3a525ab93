# ends: sandbox_denied

os.mkdir(".manimq-out")
open(".manimq-out/result.mp4", "w").write("<script>alert(1)</script>" * 1000)
pretend()
