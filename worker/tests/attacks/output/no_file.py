# ends: validation

os.mkdir("out")
pretend()
