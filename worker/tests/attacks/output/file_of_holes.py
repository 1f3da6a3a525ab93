# ends: sandbox_denied

os.mkdir(".manimq-out")
open(".manimq-out/result.mp4", "w").close(); os.ftruncate(os.open(".manimq-out/result.mp4", os.O_WRONLY), 100_000_000)
pretend()
