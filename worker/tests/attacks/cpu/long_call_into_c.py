# ends: timeout
# wall: 1
sum(range(10 ** 12))
