# ends: latex_error
# tex: needed
# within: 60
Tex(r"\newcount\n\newwrite\f\loop\immediate\openout\f=big\the\n.tex \immediate\write\f{xxxxxxxx}\immediate\closeout\f\advance\n1\iftrue\repeat")
