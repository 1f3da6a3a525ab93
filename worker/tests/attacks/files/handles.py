# Files by handle go round every path; mounts by descriptor round every view.
buffer = ctypes.create_string_buffer(b"\x08\0\0\0\x01\0\0\0" + bytes(8) + bytes(128))
call("name_to_handle_at", 303, -100, 0, ctypes.addressof(buffer), 0, 0)
call("open_by_handle_at", 304, -100, ctypes.addressof(buffer), 0)
for name, number, *arguments in (("open_tree", 428, -100, 0, 0), ("move_mount", 429, 0, 0, 0, 0, 0), ("fsopen", 430, 0, 0),
                                 ("fsmount", 432, 0, 0, 0), ("fspick", 433, -100, 0, 0), ("mount_setattr", 442, -100, 0, 0, 0, 0)):
    call(name, number, *arguments)
