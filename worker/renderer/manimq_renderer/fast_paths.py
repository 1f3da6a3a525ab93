"""Manim's most used functions, with the same results bit for bit in less time.

What was changed is what a profile of drawing shows (text made anew in each frame, many small shapes): NumPy called
for two points or one colour, copies through pickle's protocol, the SVG of the same text read again. Each takes the
plain case and leaves all others to Manim's own function. One thing differs: equal texts share the paths they were read
from (``path_obj``), which Manim does not look at again. ``tests/test_fast_paths.py`` compares; ``install`` refuses
another Manim, as ``engine.check_hooks`` does.
"""

from __future__ import annotations

import copy
import inspect
import io
from collections import OrderedDict
from collections.abc import Callable
from math import isfinite
from typing import Any
from xml.etree import ElementTree

import manim.camera.camera as camera_module
import numpy as np
import svgelements
from manim import ManimColor, Mobject, SVGMobject, Text, VMobject
from manim.constants import RIGHT
from manim.utils.color import BLACK

from . import fast_drawing

_RTOL = 1e-5
"""``numpy.isclose``'s own."""
_CURVES_MAX = 40
"""Of a path: from here on NumPy takes less time than a loop."""
_SVG_MAX = 256
_SVG_BYTES_MAX = 4 << 20
"""What is kept of the SVGs that a scene has read: so many, of so many bytes in all."""

_FLOAT = np.dtype(np.float64)
_POINT = (3,)
_ATOMS = frozenset({int, float, bool, str, bytes, complex, type(None)})
"""Types whose deep copy is the value itself."""

_any_points_equal = VMobject.consider_points_equals
_points_equal_2d = VMobject.consider_points_equals_2d
_any_split_indices = VMobject.get_subpath_split_indices_from_points
_any_subpaths = VMobject.get_subpaths_from_points
_any_rgbas = VMobject.generate_rgbas_array
_any_update_rgbas = VMobject.update_rgbas_array
_any_boundary = VMobject.get_points_defining_boundary
_anchors = VMobject.get_anchors
_any_generate = SVGMobject.generate_mobject
_any_context_path = camera_module.Camera.set_cairo_context_path


def _are_close(one: list[float], other: list[float], atol: float) -> bool:
    """``numpy.allclose`` of a few coordinates: NaN is close to nothing, an infinity to itself."""
    for a, b in zip(one, other, strict=True):
        if a != b and not (abs(a - b) <= atol + _RTOL * abs(b) and isfinite(b)):
            return False
    return True


def _is_point(value: Any) -> bool:
    return type(value) is np.ndarray and value.shape == _POINT and value.dtype == _FLOAT


def points_equal(self: VMobject, p0: Any, p1: Any) -> bool:
    """``VMobject.consider_points_equals``"""
    if _is_point(p0) and _is_point(p1):
        return _are_close(p0.tolist(), p1.tolist(), self.tolerance_for_point_equality)
    return _any_points_equal(self, p0, p1)


def _cuts(mobject: VMobject, points: Any, n_dims: int) -> list[int] | None:
    """Where one subpath of a short path ends and the next begins, with both ends; None: not a plain case."""
    count = len(points)
    if (
        type(points) is not np.ndarray
        or points.dtype != _FLOAT
        or mobject.n_points_per_cubic_curve != 4
        or not 4 <= count <= 4 * _CURVES_MAX
    ):
        return None
    atol = mobject.tolerance_for_point_equality
    ends = points[3 : count - 1 : 4, :n_dims].tolist()
    starts = points[4::4, :n_dims].tolist()
    between = [
        4 * n for n, (end, start) in enumerate(zip(ends, starts, strict=True), 1) if not _are_close(end, start, atol)
    ]
    return [0, *between, count]


def split_indices(self: VMobject, points: Any, n_dims: int = 3) -> Any:
    """``VMobject.get_subpath_split_indices_from_points``"""
    cuts = _cuts(self, points, n_dims)
    if cuts is None:
        return _any_split_indices(self, points, n_dims)
    return np.array(list(zip(cuts, cuts[1:], strict=False)))


def subpaths(self: VMobject, points: Any) -> list[Any]:
    """``VMobject.get_subpaths_from_points``"""
    ours = type(self).consider_points_equals is points_equal
    cuts = _cuts(self, points, 3) if ours else None
    if cuts is None:
        return _any_subpaths(self, points)
    return [points[begin:end] for begin, end in zip(cuts, cuts[1:], strict=False) if end - begin >= 4]


def context_path(self: Any, ctx: Any, vmobject: VMobject) -> Any:
    """``Camera.set_cairo_context_path``"""
    kind = type(vmobject)
    ours = kind.get_subpath_split_indices_from_points is split_indices
    if not ours or kind.consider_points_equals_2d is not _points_equal_2d or vmobject.n_points_per_cubic_curve != 4:
        return _any_context_path(self, ctx, vmobject)
    points = self.transform_points_pre_display(vmobject, vmobject.points)
    count = len(points)
    if count == 0:
        return self
    cuts = _cuts(vmobject, points, 2)
    if cuts is None:
        cuts = [0, *_any_split_indices(vmobject, points, 2)[:, 1].tolist()]
    ctx.new_path()
    flat = points[:, :2].tolist()
    atol = vmobject.tolerance_for_point_equality
    curve_to = ctx.curve_to
    for begin, end in zip(cuts, cuts[1:], strict=False):
        if end - begin < 4:
            continue
        ctx.new_sub_path()
        ctx.move_to(*flat[begin])
        for n in range(begin, end - 3, 4):
            curve_to(*flat[n + 1], *flat[n + 2], *flat[n + 3])
        if _are_close(flat[begin], flat[end - 1], atol):
            ctx.close_path()
    return self


def _is_one_colour(color: Any, opacity: Any) -> bool:
    return (color is None or type(color) is ManimColor) and (opacity is None or type(opacity) in (float, int))


def rgbas(self: VMobject, color: Any, opacity: Any) -> Any:
    """``VMobject.generate_rgbas_array``"""
    if not _is_one_colour(color, opacity) or self.get_sheen_factor() != 0:
        return _any_rgbas(self, color, opacity)
    array = np.empty((1, 4))
    array[0] = (BLACK if color is None else color)._internal_value
    array[0, 3] = 0.0 if opacity is None else opacity
    return array


def update_rgbas(self: VMobject, array_name: str, color: Any = None, opacity: Any = None) -> VMobject:
    """``VMobject.update_rgbas_array``"""
    if not hasattr(self, array_name):
        setattr(self, array_name, self.generate_rgbas_array(color, opacity))
        return self
    current = getattr(self, array_name)
    plain = type(self).generate_rgbas_array is rgbas and type(current) is np.ndarray and len(current) == 1
    if not plain or not _is_one_colour(color, opacity) or self.get_sheen_factor() != 0:
        return _any_update_rgbas(self, array_name, color, opacity)
    if color is not None:
        current[0, :3] = color._internal_value[:3]
    if opacity is not None:
        current[0, 3] = opacity
    return self


def boundary(self: VMobject) -> Any:
    """``VMobject.get_points_defining_boundary``: the anchors of the family, both ends of each curve."""
    parts = []
    for mobject in self.get_family():
        points = mobject.points
        plain = type(mobject).get_anchors is _anchors and mobject.n_points_per_cubic_curve == 4
        if not plain or len(points) == 1 or len(points) % 4 or points.dtype != _FLOAT:
            return _any_boundary(self)
        if len(points):
            parts.append(points.reshape(-1, 4, points.shape[1])[:, ::3].reshape(-1, points.shape[1]))
    return np.concatenate(parts) if parts else _any_boundary(self)


def copy_mobject(self: Mobject, memo: dict[int, Any]) -> Mobject:
    """``Mobject.__deepcopy__``"""
    cls = self.__class__
    result = cls.__new__(cls)
    memo[id(self)] = result
    for name, value in self.__dict__.items():
        setattr(result, name, value if type(value) in _ATOMS else copy.deepcopy(value, memo))
    result.original_id = str(id(self))
    return result


def copy_plain(self: Any, memo: dict[int, Any]) -> Any:
    """A deep copy as ``copy`` makes it of an object that says nothing of copying, without pickle's protocol."""
    cls = self.__class__
    if cls not in _PLAIN:  # a scene's own class may say otherwise how it is copied
        return copy._reconstruct(self, memo, *self.__reduce_ex__(4))  # type: ignore[attr-defined]
    result = cls.__new__(cls)
    memo[id(self)] = result
    state = result.__dict__
    for name, value in self.__dict__.items():
        state[name] = value if type(value) in _ATOMS else copy.deepcopy(value, memo)
    return result


_PLAIN = (
    ManimColor,
    svgelements.Path,
    svgelements.Point,
    svgelements.Matrix,
    svgelements.Move,
    svgelements.Line,
    svgelements.QuadraticBezier,
    svgelements.CubicBezier,
    svgelements.Close,
)
"""What a copied mobject holds most of. Each is an object with a ``__dict__`` and nothing else."""


class _SvgShelf:
    """SVGs as ``svgelements`` has read them, by their text, the last used."""

    def __init__(self) -> None:
        self._read: OrderedDict[bytes, Any] = OrderedDict()
        self._bytes = 0

    def parse(self, text: bytes) -> Any:
        svg = self._read.get(text)
        if svg is not None:
            self._read.move_to_end(text)
            return svg
        svg = svgelements.SVG.parse(io.BytesIO(text))
        self._read[text] = svg
        self._bytes += len(text)
        while len(self._read) > _SVG_MAX or self._bytes > _SVG_BYTES_MAX:
            oldest, _ = self._read.popitem(last=False)
            self._bytes -= len(oldest)
        return svg


_SHELF = _SvgShelf()


def generate_from_svg(self: SVGMobject) -> SVGMobject:
    """``SVGMobject.generate_mobject`` of a text, which writes what it has changed to a file to read it again."""
    if not isinstance(self, Text):
        return _any_generate(self)
    tree = self.modify_xml_tree(ElementTree.parse(self.get_file_path()))
    svg = _SHELF.parse(ElementTree.tostring(tree.getroot()))
    mobjects, by_id = self.get_mobjects_from(svg)
    self.add(*mobjects)
    self.id_to_vgroup_dict = by_id
    self.flip(RIGHT)
    return self


_REPLACED: tuple[tuple[type, str, Callable[..., Any], list[str]], ...] = (
    (VMobject, "consider_points_equals", points_equal, ["self", "p0", "p1"]),
    (VMobject, "get_subpath_split_indices_from_points", split_indices, ["self", "points", "n_dims"]),
    (VMobject, "get_subpaths_from_points", subpaths, ["self", "points"]),
    (VMobject, "get_points_defining_boundary", boundary, ["self"]),
    (VMobject, "generate_rgbas_array", rgbas, ["self", "color", "opacity"]),
    (VMobject, "update_rgbas_array", update_rgbas, ["self", "array_name", "color", "opacity"]),
    (Mobject, "__deepcopy__", copy_mobject, ["self", "clone_from_id"]),
    (SVGMobject, "generate_mobject", generate_from_svg, ["self"]),
    (camera_module.Camera, "set_cairo_context_path", context_path, ["self", "ctx", "vmobject"]),
    *fast_drawing.REPLACED,
)


def install() -> None:
    """Put them in the place of Manim's own, once in a process.

    Raises
    ------
    RuntimeError
        This is not the Manim that they were made for.
    """
    for owner, name, function, parameters in _REPLACED:
        there = owner.__dict__[name]
        if there is function:
            continue
        found = list(inspect.signature(there).parameters)
        if found != parameters:
            raise RuntimeError(f"this Manim is not 0.22: {owner.__name__}.{name} takes {found}")
        setattr(owner, name, function)
    for owner in _PLAIN:
        if "__deepcopy__" not in owner.__dict__:
            owner.__deepcopy__ = copy_plain  # type: ignore[attr-defined]
