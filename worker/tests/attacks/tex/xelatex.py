# tex: needed
# wall: 150
# within: 180

# The other engine that is allowed: it reads pictures and fonts itself, by path.
xelatex = TexTemplate(tex_compiler="xelatex", output_format=".xdv")
for path in ("/etc/passwd", SECRET_FILE):
    refused(r"\input{" + path + "}", tex_template=xelatex)
    looks_like(r"\newread\f\openin\f=" + path + r" \ifeof\f A\else BREACH\fi", "A", tex_template=xelatex)
    refused(r"\XeTeXpicfile " + path + " ", tex_template=xelatex)
    refused(r"\XeTeXpdffile " + path + " ", tex_template=xelatex)
    refused(r'\font\x="[' + path + r']"\x A', tex_template=xelatex)
for path in ("../x", "/tmp/x"):
    refused(r"\newwrite\f\immediate\openout\f=" + path + r" \immediate\write\f{x}A", tex_template=xelatex)
looks_like(r"\immediate\write18{id > held18.tex}\openin0=held18 \ifeof0 A\else BREACH\fi", "A", tex_template=xelatex)
looks_like(r"\special{ps:(/etc/passwd) run}A", "A", tex_template=xelatex)
