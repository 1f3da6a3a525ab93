# ends: output_limit, sandbox_denied
# within: 90
while True:
    os.mkdir("d")
    os.chdir("d")
