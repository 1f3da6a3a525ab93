# ends: validation, scene_error
os._exit(71)
