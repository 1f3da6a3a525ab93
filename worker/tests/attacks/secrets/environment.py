# The worker's environment holds keys: nothing of it may be in the job's.
if any(CANARY in value for value in os.environ.values()): breaches.append("environment")
if sorted(os.environ) != ["HOME", "LANG", "PATH", "TMPDIR"]: breaches.append(str(sorted(os.environ)))
libc.getenv.restype = ctypes.c_char_p
for name in (b"PATH", b"MANIMQ_TEST_CANARY", b"HOME"):
    value = libc.getenv(name)
    if value and CANARY.encode() in value: breaches.append("getenv")
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
index = 0
while environ[index]:
    if CANARY.encode() in environ[index]: breaches.append("environ")
    index += 1
