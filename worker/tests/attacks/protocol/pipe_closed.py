# ends: validation, scene_error, sandbox_denied
os.close(3); os.close(4); os.close(5)
