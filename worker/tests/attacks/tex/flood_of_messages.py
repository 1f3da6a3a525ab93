# ends: latex_error
# tex: needed
# within: 60
Tex(r"\loop\iftrue\message{xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}\repeat")
