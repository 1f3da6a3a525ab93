"""How numbers are written."""

from __future__ import annotations

import math
from fractions import Fraction

_WHOLE_MAX = 1e12
"""Below it whole numbers have all their digits."""
GIVEN_DIGITS = 10
"""As many as sums of such numbers have without the noise of binary fractions."""
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def num(value: float, digits: int = 4) -> str:
    """A number for people: at most ``digits`` significant digits, no zeros that say nothing, a true minus."""
    value = float(value)
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0 or abs(value) < 1e-12:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 7 or size < -5:
        mantissa = num(value / 10.0**size, digits)
        if mantissa.lstrip("−") == "10":  # rounded up
            mantissa, size = mantissa.removesuffix("0"), size + 1
        return f"{mantissa}×10{str(size).translate(_SUPERSCRIPT)}"
    places = max(0, digits - 1 - size)
    written = f"{value:.{places}f}"
    if "." in written:
        written = written.rstrip("0").rstrip(".")
    return "0" if written in ("-0", "0") else written.replace("-", "−")


def given(value: float) -> str:
    """A number that somebody wrote, with the digits that they gave it: all of a whole one, ten of another."""
    value = float(value)
    if abs(value) < _WHOLE_MAX and value.is_integer():
        return str(int(value)).replace("-", "−")
    return num(value, GIVEN_DIGITS)


def counted(count: int, thing: str) -> str:
    """How many there are of something whose plural ends in s."""
    return f"{count} {thing}{'s' * (count != 1)}"


def tex_num(value: float | Fraction, digits: int = 4) -> str:
    """The same in LaTeX; a fraction as a fraction."""
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        sign = "-" if value < 0 else ""
        return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    written = num(value, digits)
    if "×10" in written:
        mantissa, power = written.split("×10")
        power = power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))
        return rf"{mantissa.replace('−', '-')}\cdot 10^{{{power}}}"
    return {"∞": r"\infty", "−∞": r"-\infty", "undefined": r"\text{undefined}"}.get(written, written.replace("−", "-"))
