"""More quick twins (see ``fast_paths.py``): those of drawing a picture, in three dimensions most of all.

While a picture is drawn nothing moves. So the light on a shape, the ends of its gradient and the edges of an axis,
which Manim works out anew for fill and stroke and for each piece of the axis, are worked out once for a picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import cairo
import manim.camera.three_d_camera as three_d_camera
import numpy as np
from manim import Mobject, VMobject
from manim.camera.camera import Camera
from manim.camera.three_d_camera import ThreeDCamera
from manim.mobject.three_d import three_d_utils
from manim.utils.color import get_shaded_rgb
from manim.utils.iterables import remove_list_redundancies

_TOLERANCE = 1e-6
"""``get_unit_normal``'s own."""
_BEHIND = 10**6
"""``project_points``'s own, for what lies behind the camera."""

_FLOAT = np.dtype(np.float64)

_any_draw = Camera.display_multiple_non_background_colored_vmobjects
_any_colour = Camera.set_cairo_context_color
_any_fill = Camera.apply_fill
_any_modified_rgbas = ThreeDCamera.modified_rgbas
_any_project = ThreeDCamera.project_points
_any_critical_point = Mobject.get_critical_point
_any_family = Mobject.get_family
_extremum = Mobject.get_extremum_along_dim
_iter_family = Mobject._iter_family
_center = Mobject.get_center
_num_points = Mobject.get_num_points
_anchors = VMobject.get_anchors
_fill_rgbas = VMobject.get_fill_rgbas
_camera_fill_rgbas = (Camera.get_fill_rgbas, ThreeDCamera.get_fill_rgbas)
_any_unit_normal = three_d_utils.get_3d_vmob_unit_normal
_light_parts = {
    name: getattr(three_d_utils, name)
    for name in (
        "get_3d_vmob_start_corner",
        "get_3d_vmob_end_corner",
        "get_3d_vmob_start_corner_unit_normal",
        "get_3d_vmob_end_corner_unit_normal",
    )
} | {"get_shaded_rgb": get_shaded_rgb}
"""What ``modified_rgbas`` is made of, by the names it knows them by."""


class _Picture:
    """What is known of the mobjects of one picture. They are kept, so that no id is used twice."""

    def __init__(self) -> None:
        self.lights: dict[int, tuple[VMobject, Any, Any]] = {}
        self.ends: dict[int, tuple[VMobject, list[Any]]] = {}
        self.edges: dict[tuple[int, bytes], tuple[Mobject, Any]] = {}


_picture: _Picture | None = None
"""The one that is being drawn, by the one thread that draws."""


def draw(self: Camera, vmobjects: Iterable[VMobject], pixel_array: Any) -> None:
    """``Camera.display_multiple_non_background_colored_vmobjects``"""
    global _picture
    # A scene's own function may do anything when it is asked where a label is.
    centers = getattr(self, "fixed_orientation_mobjects", {}).values()
    if _picture is not None or any(getattr(center, "__func__", None) is not _center for center in centers):
        _any_draw(self, vmobjects, pixel_array)
        return
    _picture = _Picture()
    try:
        _any_draw(self, vmobjects, pixel_array)
    finally:
        _picture = None


def colour(self: Camera, ctx: Any, rgbas: Any, vmobject: VMobject) -> Camera:
    """``Camera.set_cairo_context_color``"""
    if _picture is None or type(rgbas) is not np.ndarray or rgbas.dtype != _FLOAT or rgbas.shape[1:] != (4,):
        return _any_colour(self, ctx, rgbas, vmobject)
    if len(rgbas) == 1:
        red, green, blue, alpha = rgbas[0].tolist()
        ctx.set_source_rgba(blue, green, red, alpha)
        return self
    known = _picture.ends.get(id(vmobject))
    if known is None:
        points = self.transform_points_pre_display(vmobject, vmobject.get_gradient_start_and_end_points())
        known = vmobject, list(itertools.chain(*(point[:2] for point in points)))
        _picture.ends[id(vmobject)] = known
    pattern = cairo.LinearGradient(*known[1])
    offsets = (0.0, 1.0) if len(rgbas) == 2 else np.linspace(0, 1, len(rgbas)).tolist()
    for (red, green, blue, alpha), offset in zip(rgbas.tolist(), offsets, strict=True):
        pattern.add_color_stop_rgba(offset, blue, green, red, alpha)
    ctx.set_source(pattern)
    return self


def fill(self: Camera, ctx: Any, vmobject: VMobject) -> Camera:
    """``Camera.apply_fill``: nothing, where nothing is to be seen."""
    rgbas = vmobject.__dict__.get("fill_rgbas")
    if (
        type(rgbas) is np.ndarray
        and rgbas.shape[1:] == (4,)
        and type(self).get_fill_rgbas in _camera_fill_rgbas
        and getattr(vmobject.get_fill_rgbas, "__func__", None) is _fill_rgbas
        and not rgbas[:, 3].any()
    ):
        return self
    return _any_fill(self, ctx, vmobject)


def modified_rgbas(self: ThreeDCamera, vmobject: VMobject, rgbas: Any) -> Any:
    """``ThreeDCamera.modified_rgbas``"""
    if not self.should_apply_shading or not vmobject.shade_in_3d:
        return rgbas
    known = None if _picture is None else _picture.lights.get(id(vmobject))
    if known is None:
        lights = _lights(self, vmobject)
        if lights is None:
            return _any_modified_rgbas(self, vmobject, rgbas)
        known = vmobject, *lights
        if _picture is not None:
            _picture.lights[id(vmobject)] = known
    shaded = rgbas.repeat(2, axis=0) if len(rgbas) < 2 else np.array(rgbas[:2])
    shaded[0, :3] = shaded[0, :3] + known[1]
    shaded[1, :3] = shaded[1, :3] + known[2]
    return shaded


def _lights(camera: ThreeDCamera, vmobject: VMobject) -> tuple[Any, Any] | None:
    """What shading adds to the colours of both ends; None: not a plain case."""
    points = vmobject.points
    count = len(points)
    if (
        type(points) is not np.ndarray
        or points.dtype != _FLOAT
        or points.shape[1:] != (3,)
        or count <= 4
        or count % 4
        or vmobject.n_points_per_cubic_curve != 4
        or getattr(vmobject.get_anchors, "__func__", None) is not _anchors
        or getattr(vmobject.get_num_points, "__func__", None) is not _num_points
        or any(getattr(three_d_camera, name) is not part for name, part in _light_parts.items())
    ):
        return None
    sun = camera.light_source.points[0]
    return _light(vmobject, points, 0, sun), _light(vmobject, points, (count - 1) // 6 * 3, sun)


def _light(vmobject: VMobject, points: Any, at: int, sun: Any) -> Any:
    """``get_shaded_rgb``, less the colour."""
    normal = _unit_normal(vmobject, points, at)
    to_sun = sun - points[at]
    norm = np.sqrt(to_sun.dot(to_sun))
    to_sun = to_sun / norm if norm > 0 else np.zeros(3)
    light = 0.5 * np.dot(normal, to_sun) ** 3
    return light * 0.5 if light < 0 else light


def _unit_normal(vmobject: VMobject, points: Any, at: int) -> Any:
    """``get_3d_vmob_unit_normal``"""
    count = len(points)
    before = at - 3 if at > 2 else count - 4
    after = at + 3 if at < count - 3 else 3
    one, other = (points[after] - points[at]).tolist(), (points[before] - points[at]).tolist()
    most, most_other = max(map(abs, one)), max(map(abs, other))
    if most != 0.0 and most_other != 0.0:
        a, b, c = (x / most for x in one)
        d, e, f = (x / most_other for x in other)
        product = np.array([b * f - c * e, c * d - a * f, a * e - b * d])
        norm = np.sqrt(product.dot(product))
        if norm > _TOLERANCE:
            return product / norm
    return _any_unit_normal(vmobject, at)


def project(self: ThreeDCamera, points: Any) -> Any:
    """``ThreeDCamera.project_points``, with the factor of both coordinates worked out once."""
    if self.exponential_projection:
        return _any_project(self, points)
    frame_center, focal_distance, zoom = self.frame_center, self.get_focal_distance(), self.get_zoom()
    points = np.dot(points - frame_center, self.get_rotation_matrix().T)
    depth = focal_distance - points[:, 2]
    factor = focal_distance / depth
    factor[depth < 0] = _BEHIND
    factor = factor * zoom
    points[:, 0] *= factor
    points[:, 1] *= factor
    return points


def critical_point(self: Mobject, direction: Any) -> Any:
    """``Mobject.get_critical_point``"""
    key = None
    if _picture is not None and type(direction) is np.ndarray and direction.dtype == _FLOAT:
        key = id(self), direction.tobytes()
        known = _picture.edges.get(key)
        if known is not None:
            return known[1].copy()
    if getattr(self.get_extremum_along_dim, "__func__", None) is not _extremum:
        return _any_critical_point(self, direction)
    points = self.get_points_defining_boundary()
    result = np.zeros(self.dim)
    if len(points) > 0:
        points = np.asarray(points)
        for dim in range(self.dim):
            values, side = points[:, dim], direction[dim]
            if side < 0:
                result[dim] = np.minimum.reduce(values)
            elif side == 0:
                result[dim] = (np.minimum.reduce(values) + np.maximum.reduce(values)) / 2
            else:
                result[dim] = np.maximum.reduce(values)
    if key is not None and _picture is not None:
        _picture.edges[key] = self, result.copy()
    return result


def family(self: Mobject, recurse: bool = True) -> list[Mobject]:
    """``Mobject.get_family``"""
    found: list[Mobject] = []
    if not _walk(self, set(), found):
        return _any_family(self, recurse)
    if len(found) == 1 or len(set(found)) == len(found):
        return found
    return remove_list_redundancies(found)


def _walk(mobject: Mobject, above: set[Mobject], found: list[Mobject]) -> bool:
    """Add a mobject and all below it; False if one of them has a way of its own."""
    if type(mobject)._iter_family is not _iter_family:
        return False
    if not mobject.submobjects:
        if mobject not in above:
            found.append(mobject)
        return True
    if mobject in above:
        return True
    above.add(mobject)
    found.append(mobject)
    for each in mobject.submobjects:
        if not _walk(each, above, found):
            return False
    above.remove(mobject)
    return True


REPLACED: tuple[tuple[type, str, Callable[..., Any], list[str]], ...] = (
    (Camera, "display_multiple_non_background_colored_vmobjects", draw, ["self", "vmobjects", "pixel_array"]),
    (Camera, "set_cairo_context_color", colour, ["self", "ctx", "rgbas", "vmobject"]),
    (Camera, "apply_fill", fill, ["self", "ctx", "vmobject"]),
    (ThreeDCamera, "modified_rgbas", modified_rgbas, ["self", "vmobject", "rgbas"]),
    (ThreeDCamera, "project_points", project, ["self", "points"]),
    (Mobject, "get_critical_point", critical_point, ["self", "direction"]),
    (Mobject, "get_family", family, ["self", "recurse"]),
)
"""Owner, name, twin and parameters of what is replaced."""
