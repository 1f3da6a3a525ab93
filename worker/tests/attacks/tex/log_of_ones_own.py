# A formula may write the log that is read for its error: one line as long as it likes, behind what TeX writes there itself.
body = (
    r"\newwrite\f\immediate\openout\f=job.log \def\a{" + "a" * 1000 + "}"
    + (r"\immediate\write\f{" + "y" * 900 + "}") * 60
    + r"\immediate\write\f{! boo}\immediate\write\f{l.1 ..." + r"\a" * 100 + "}"
    + r"\immediate\closeout\f \undefinedthing"
)
refused(body)
