# ends: output_limit
# disk_mib: 24
import tempfile
held = []
while True:
    file = tempfile.NamedTemporaryFile(delete=False)
    file.write(bytes(2 ** 20))
    file.close()
