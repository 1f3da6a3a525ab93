# ends: sandbox_denied

os.mkdir("out")
open("out/result.mp4", "w").write("<script>alert(1)</script>" * 1000)
pretend()
