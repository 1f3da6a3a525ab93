# What is closed to its owner must go all the same.
for n in range(40):
    os.mkdir(f"closed{n}")
    open(f"closed{n}/file", "w").close()
    os.mkdir(f"closed{n}/inner")
    os.mkdir(f"closed{n}/inner/most", 0)
for n in range(40):
    try:
        os.chmod(f"closed{n}/inner", 0)
        os.chmod(f"closed{n}", 0)
    except OSError: pass
os.mkdir("never", 0)
os.makedirs("/".join("d" * 50))
