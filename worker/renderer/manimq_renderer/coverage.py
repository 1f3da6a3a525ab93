"""Which characters the installed fonts have, as fontconfig knows it; Pango draws a box for any other.

Asked of the library that Pango has loaded, through its present configuration: nothing is read
anew, so that what is drawn stays the same.
"""

from __future__ import annotations

import ctypes
import unicodedata
from functools import cache
from typing import Any

_MATCH = 0
"""``FcResultMatch``."""
_FORMATS = (b"TrueType", b"CFF")
"""What Pango draws; the others that fontconfig lists it leaves alone."""
_LATIN = 0x250
"""Below it any font that texts are set in has what is drawn."""


class _FontSet(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int), ("room", ctypes.c_int), ("fonts", ctypes.POINTER(ctypes.c_void_p))]


@cache
def _fontconfig() -> Any:
    """The library with the types of what is called; None where it is not."""
    try:
        library = ctypes.CDLL("libfontconfig.so.1")
    except OSError:
        return None
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("FcConfigGetCurrent", pointer, []),
        ("FcPatternCreate", pointer, []),
        ("FcPatternDestroy", None, [pointer]),
        ("FcObjectSetCreate", pointer, []),
        ("FcObjectSetAdd", ctypes.c_int, [pointer, text]),
        ("FcObjectSetDestroy", None, [pointer]),
        ("FcFontList", ctypes.POINTER(_FontSet), [pointer, pointer, pointer]),
        ("FcPatternGetCharSet", ctypes.c_int, [pointer, text, ctypes.c_int, ctypes.POINTER(pointer)]),
        ("FcPatternGetString", ctypes.c_int, [pointer, text, ctypes.c_int, ctypes.POINTER(text)]),
        ("FcCharSetHasChar", ctypes.c_int, [pointer, ctypes.c_uint32]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Coverage:
    """The characters of the fonts that there are when it is made (some 10 ms, for 200 fonts)."""

    def __init__(self) -> None:
        self._sets: list[ctypes.c_void_p] = []
        self._known: dict[str, bool] = {}
        library = _fontconfig()
        if library is None:
            return
        pattern, objects = library.FcPatternCreate(), library.FcObjectSetCreate()
        for name in (b"charset", b"fontformat"):
            library.FcObjectSetAdd(objects, name)
        # With a configuration that is named fontconfig does not look whether there is a newer one.
        fonts = library.FcFontList(library.FcConfigGetCurrent(), pattern, objects)
        library.FcObjectSetDestroy(objects)
        library.FcPatternDestroy(pattern)
        if not fonts:
            return
        # The list is kept: the sets are its own.
        for font in fonts.contents.fonts[: fonts.contents.count]:
            found, form = ctypes.c_void_p(), ctypes.c_char_p()
            if library.FcPatternGetString(font, b"fontformat", 0, ctypes.byref(form)) != _MATCH or form.value not in _FORMATS:
                continue
            if library.FcPatternGetCharSet(font, b"charset", 0, ctypes.byref(found)) == _MATCH:
                self._sets.append(found)

    def lacks(self, text: str) -> list[str]:
        """The characters that no font has, each once, in the order of the text; none where fonts are not known."""
        if text.isascii() or not self._sets:
            return []
        return [each for each in dict.fromkeys(text) if ord(each) >= _LATIN and not self._draws(each)]

    def _draws(self, character: str) -> bool:
        known = self._known.get(character)
        if known is None:
            # A letter with an accent can be drawn as the two.
            parts = unicodedata.normalize("NFD", character)
            known = _is_invisible(character) or self._has(character) or (parts != character and all(map(self._has, parts)))
            self._known[character] = known
        return known

    def _has(self, character: str) -> bool:
        library = _fontconfig()
        return any(library.FcCharSetHasChar(each, ord(character)) for each in self._sets)


def _is_invisible(character: str) -> bool:
    """Spaces, controls and variation selectors need no glyph."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs") or (
        "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    )


@cache
def installed() -> Coverage:
    """Of the machine's fonts; made once, before there is a scene."""
    return Coverage()
