# Whatever the zygote and the guard have left in memory.
import gc
seen = 0
for each in gc.get_objects():
    seen += 1
    for value in vars(each).values() if hasattr(each, "__dict__") and isinstance(vars(each), dict) else ():
        if isinstance(value, str) and value is not CANARY and CANARY in value and "CANARY" not in value:
            breaches.append(f"canary in {type(each)}")
assert seen > 100, seen
