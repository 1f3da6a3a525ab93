# Operators keep settings with keys and sources there.
for folder in ("/usr/local/etc", "/usr/local/src", "/usr/src"):
    try:
        found = os.listdir(folder)
    except OSError:
        continue
    if found: breaches.append(f"{folder}: {found}")
