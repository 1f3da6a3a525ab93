# tex: needed

looks_like(r"\immediate\write18{echo A > planted.tex}A\IfFileExists{planted.tex}{BREACH}{}", "A")
refused(r'\input{|"id"}')
