# Jobs are forked from the same process: a lock that it shared with them, kept here, would stop all that follow.
import gc

import tqdm
from multiprocessing.synchronize import SemLock

tqdm.tqdm.get_lock().acquire()
gc.unfreeze()
breaches += [f"shared by processes: {lock}" for lock in gc.get_objects() if isinstance(lock, SemLock)]
