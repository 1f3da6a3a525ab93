# raw: yes
# ends: scene_error, out_of_memory, validation, timeout
# wall: 10
# memory_mib: 512
x = a@REPEAT .b@300000@
