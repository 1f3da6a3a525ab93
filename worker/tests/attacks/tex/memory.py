# ends: latex_error
# tex: needed
Tex(r"\def\a{\a\a}\a")
