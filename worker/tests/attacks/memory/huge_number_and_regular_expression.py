# ends: timeout, out_of_memory
# wall: 2
import re
re.match(r"(a+)+$", "a" * 60 + "b")
