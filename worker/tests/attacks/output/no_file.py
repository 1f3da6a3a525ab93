# ends: validation

os.mkdir(".manimq-out")
pretend()
