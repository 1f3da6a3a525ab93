# raw: yes
# ends: timeout, out_of_memory, scene_error
# wall: 4
x = 9 ** 9 ** 9
