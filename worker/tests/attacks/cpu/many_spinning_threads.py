# ends: timeout, validation
# cpu: 2
# wall: 30
import threading
from scipy import linalg
# OpenBLAS ends the process by itself where it gets no memory for so many threads.
def spin():
    matrix = np.random.rand(300, 300)
    while True: linalg.svd(matrix)
for _ in range(20): threading.Thread(target=spin, daemon=True).start()
while True: n = 1
