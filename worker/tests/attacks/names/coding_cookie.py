# raw: yes
# ends: validation, scene_error
# coding: utf-7
+AGkAbQBwAG8AcgB0- os
