# ends: scene_error
ctypes.string_at(0)
