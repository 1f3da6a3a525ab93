# raw: yes
# ends: scene_error, out_of_memory, validation, timeout
# wall: 10
x = @REPEAT (@5000@@REPEAT )@5000@
