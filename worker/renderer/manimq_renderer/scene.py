"""Loads the tenant's module and chooses the scene, as the ``manim`` command does."""

from __future__ import annotations

import difflib
import importlib.abc
import importlib.util
import linecache
import sys
import warnings
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

from manim import Scene
from manim.utils.module_ops import get_scene_classes_from_module

from .failure import NotRenderable


class _TextLoader(importlib.abc.InspectLoader):
    """Loads a module from a text that was decoded once, by the worker.

    Reading the file again would let a coding cookie turn what a check saw as a
    comment into code.
    """

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._text = text

    def get_source(self, fullname: str) -> str:
        return self._text

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._text, self._path, "exec", dont_inherit=True)


def load_module(path: str, text: str) -> ModuleType:
    """Run the tenant's file as the module that the command would make of it."""
    file = Path(path)
    name = ".".join(file.with_suffix("").parts)
    # Tracebacks show code from this cache; None keeps it from looking at the disk.
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    warnings.filterwarnings("default", category=DeprecationWarning, module=name)
    spec = ModuleSpec(name, _TextLoader(path, text), origin=path)
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


def choose_scene(module: ModuleType, wanted: str | None) -> type[Scene]:
    """The scene asked for, or the only one.

    Raises:
        NotRenderable: none, several and none named, or no scene of that name.
    """
    classes = {each.__name__: each for each in get_scene_classes_from_module(module)}
    names = sorted(classes)
    if not names:
        raise NotRenderable(
            "there is no scene in this file", hint="define a class that inherits from Scene"
        )
    if wanted:
        if wanted in classes:
            return classes[wanted]
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        raise NotRenderable(
            f"there is no scene {wanted[:100]!r} in this file",
            names,
            f"did you mean {near[0]!r}?" if near else None,
        )
    if len(names) > 1:
        raise NotRenderable("there are several scenes in this file and none was chosen", names)
    return classes[names[0]]
