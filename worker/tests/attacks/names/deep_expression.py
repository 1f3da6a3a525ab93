# raw: yes
# ends: scene_error, out_of_memory, validation, timeout
# wall: 10
# memory_mib: 512
x = @REPEAT -@200000@1
