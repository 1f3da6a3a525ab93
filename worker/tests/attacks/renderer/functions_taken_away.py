# ends: scene_error, validation, sandbox_denied
for module in list(sys.modules.values()):
    for name in list(vars(module)) if hasattr(module, "__dict__") else []:
        if name in ("write_all", "send", "clean_failure", "describe", "main", "_say"): setattr(module, name, None)
os.close(3)
raise ValueError
