# ends: output_limit, sandbox_denied
while True:
    os.mkdir("d")
    os.chdir("d")
