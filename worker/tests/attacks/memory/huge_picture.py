# ends: output_limit, out_of_memory
config.pixel_width = 60_000
config.pixel_height = 60_000
