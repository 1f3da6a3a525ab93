# ends: output_limit
# log_mib: 1
import logging
logger = logging.getLogger("flood")
logger.addHandler(logging.StreamHandler())
logger.propagate = False
while True: logger.error("\x1b[2J\u202e" + "x" * 2000)
