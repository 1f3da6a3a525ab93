# tex: needed
for compiler, extension in (("lualatex", ".pdf"), ("luatex", ".dvi"), ("pdflatex", ".pdf"), ("latex", ".pdf"), ("sh", ".dvi")):
    try: Tex(r"\\directlua{os.execute('id')}", tex_template=TexTemplate(tex_compiler=compiler, output_format=extension))
    except ValueError: continue
    breaches.append(compiler)
