# The filter counts, not who calls: machine code in memory gets no further.
import mmap
code = bytes.fromhex("b8390000000f05c3")  # fork
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
result = ctypes.CFUNCTYPE(ctypes.c_long)(address)()
if result >= 0: breaches.append(f"fork gave {result}")
