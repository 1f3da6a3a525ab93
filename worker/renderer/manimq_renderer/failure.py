"""From an exception to an error that a person can use: class, message, own line.

Runs inside the job, on the tenant's objects, so what it produces is a claim
that the guard bounds and checks, never a fact.
"""

from __future__ import annotations

import builtins
import difflib
import errno
import inspect
import linecache
import os
import re
import resource
import sys
import traceback
from collections import deque
from types import FrameType, TracebackType
from typing import Any

import manim

from . import hints, walls
from .tex_client import LatexFailed

_STACK_MAX = 12
_FRAMES_MAX = 10_000
"""Looked through for the user's own."""
_LOOP = re.compile(r"(?:async\s+)?(?:for|while)\b")
_CHARS_MAX = {"message": 4096, "formula": 1000, "scenes": 200, "function": 200}
_OTHER_CHARS_MAX = 500
"""As much as the guard passes on: more would only be too much for the pipe."""


class Stopped(BaseException):
    """Raised in the scene by the guard's signal. Not an Exception: `except Exception` lets it pass."""


class NotRenderable(Exception):
    """The request and the file do not fit: no such scene, no scene, several scenes."""

    def __init__(self, message: str, scenes: list[str] | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.scenes = scenes or []
        self.hint = hint


class LimitReached(Exception):
    """A limit that the renderer itself looks after, with what to say of it."""


def describe(error: BaseException, path: str) -> dict[str, Any]:
    """Everything worth telling about ``error``, raised while rendering the file ``path``."""
    chain = _chain(error)
    failure: dict[str, Any] = {"class": "scene_error", "message": _message(error)}
    failure.update(_location(chain, path))
    failure.update(_special(error, chain, path))
    return _cut(failure)


def describe_frame(frame: FrameType | None, path: str) -> dict[str, Any]:
    """Where the user's code is right now, from a running frame."""
    own: list[tuple[FrameType, int]] = []
    for _ in range(_FRAMES_MAX):
        if frame is None or len(own) == _STACK_MAX:
            break
        if frame.f_code.co_filename == path:
            own.append((frame, frame.f_lineno))
        frame = frame.f_back
    stack = traceback.StackSummary.extract(iter(own), lookup_lines=True)
    stack.reverse()
    found = _from_frames(list(stack))
    loops = (_loop_around(path, at, each.f_code.co_firstlineno) for each, at in own)
    return _cut({**found, "loop": next(filter(None, loops), None)} if found else found)


def _loop_around(path: str, line: int, first: int) -> int | None:
    """Where the innermost loop begins that a line of a function is in, by how far lines are indented."""
    within = sys.maxsize
    for number in range(line, first, -1):
        text = linecache.getline(path, number)
        indent = len(text) - len(text.lstrip())
        if indent >= within or not text.strip() or text.lstrip().startswith("#"):
            continue
        if _LOOP.match(text.lstrip()):
            return number
        within = indent
    return None


def _cut(value: Any, name: str = "") -> Any:
    """The same with every text and list at a length that the guard takes."""
    if isinstance(value, dict):
        return {key: _cut(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_cut(each, name) for each in value[:100]]
    limit = _CHARS_MAX.get(name, _OTHER_CHARS_MAX)
    return value[: limit - 1] + "…" if isinstance(value, str) and len(value) > limit else value


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from, bounded (a tenant can build a loop)."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and all(current is not each for each in chain) and len(chain) < 10:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return chain


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - a tenant's own __str__
        text = "(its message cannot be shown)"
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _location(chain: list[BaseException], path: str) -> dict[str, Any]:
    for error in chain:
        # A deep recursion has millions: only the last few of the user's are looked at closely.
        own: deque[TracebackType] = deque(maxlen=_STACK_MAX)
        entry = error.__traceback__
        while entry is not None:
            if entry.tb_frame.f_code.co_filename == path:
                own.append(entry)
            entry = entry.tb_next
        if own:
            return _from_frames([frame for each in own for frame in traceback.extract_tb(each, 1)])
    return {}


def _from_frames(frames: list[traceback.FrameSummary]) -> dict[str, Any]:
    if not frames:
        return {}
    last = frames[-1]
    column, end_column = _columns(last)
    return {
        "line": last.lineno,
        "column": column,
        "end_column": end_column,
        "code": (last.line or "").rstrip() and linecache.getline(last.filename, last.lineno or 0).rstrip(),
        "function": last.name,
        "stack": [{"line": f.lineno, "function": f.name, "code": f.line} for f in frames[-_STACK_MAX:]],
    }


def _columns(frame: traceback.FrameSummary) -> tuple[int | None, int | None]:
    """1-based columns in characters; Python counts bytes of UTF-8 from 0."""
    if frame.colno is None or frame.lineno is None:
        return None, None
    line = linecache.getline(frame.filename, frame.lineno).encode()
    start = len(line[: frame.colno].decode(errors="replace")) + 1
    if frame.end_colno is None or frame.end_lineno != frame.lineno:
        return start, None
    return start, len(line[: frame.end_colno].decode(errors="replace")) + 1


def _denied(error: OSError) -> str:
    """What the scene tried, for the operator's metrics: network, process, files or other."""
    modules = set()
    frame = error.__traceback__
    while frame is not None:
        modules.add(os.path.basename(frame.tb_frame.f_code.co_filename))
        frame = frame.tb_next
    if "socket.py" in modules:
        return "network"
    if "subprocess.py" in modules:
        return "process"
    return "files" if error.filename is not None else "other"


def _special(error: BaseException, chain: list[BaseException], path: str) -> dict[str, Any]:
    """What a class of failure needs beyond message and line."""
    if isinstance(error, NotRenderable):
        return {
            "class": "validation",
            "message": str(error),
            "scenes": error.scenes,
            "hint": error.hint,
        }
    if isinstance(error, LimitReached):
        return {"class": "output_limit", "message": str(error), "hint": hints.PIXELS}
    if isinstance(error, Stopped):
        return {"class": "timeout", "message": str(error)}
    for each in chain:
        if isinstance(each, MemoryError):
            return {"class": "out_of_memory", "message": "the render reached its memory limit"}
        if isinstance(each, LatexFailed):
            return {
                "class": "latex_error",
                "message": str(each),
                "latex": {"formula": each.formula, "errors": each.errors},
            }
        number = getattr(each, "errno", None)
        if isinstance(each, OSError) and number == errno.ENOMEM:
            return {"class": "out_of_memory", "message": "the render reached its memory limit"}
        if isinstance(each, OSError) and number in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
            what, hint = _what_is_full(number)
            return {"class": "output_limit", "message": f"{what} ({each})", "hint": hint}
        if isinstance(each, OSError) and number == errno.EMFILE:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            return {
                "class": "sandbox_denied",
                "denied": "files",
                "message": f"the render has more files open than the limit of {limit}",
                "hint": hints.OPEN_FILES,
            }
        if isinstance(each, RuntimeError) and str(each) == "can't start new thread":
            return {
                "class": "sandbox_denied",
                "denied": "threads",
                "message": "the render started more threads than it may have",
                "hint": hints.THREADS,
            }
        if isinstance(each, OSError) and number in (errno.EPERM, errno.EACCES, errno.EROFS):
            return {
                "class": "sandbox_denied",
                "denied": _denied(each),
                "message": f"the sandbox does not allow this: {_message(each)}",
                "hint": hints.WALLS,
            }
    if isinstance(error, SyntaxError) and error.filename == path:
        return {
            "message": f"{type(error).__name__}: {error.msg}",
            "line": error.lineno,
            "column": error.offset,
            "end_column": error.end_offset if error.end_lineno == error.lineno else None,
            "code": (error.text or "").rstrip(),
            "function": None,
            "stack": [],
        }
    if isinstance(error, SystemExit):
        return {
            "class": "validation",
            "message": f"the scene called exit ({error.code!r}) before the render was complete",
            "hint": hints.CALLED_EXIT,
        }
    if isinstance(error, RuntimeError) and "has no play calls" in str(error):
        return {
            "class": "validation",
            "message": "the scene has no animation, so there is no video to make",
            "hint": "add self.play(…) or self.wait(), or ask for a still picture (-s, format png)",
        }
    if isinstance(error, ValueError) and "does not support an alpha channel" in str(error):
        return {
            "class": "validation",
            "message": str(error),
            "hint": hints.ALPHA,
        }
    if isinstance(error, RecursionError):
        return {"hint": hints.RECURSION}
    for each in chain:
        if (found := _asset(each)) is not None:
            return found
    hint = _nearest(error)
    return {"hint": hint} if hint else {}


def _asset(error: BaseException) -> dict[str, Any] | None:
    """A file that is not there, by its name alone: where Manim has looked says nothing to a user."""
    if not isinstance(error, OSError):
        return None
    said = re.fullmatch(r"From: .*?, could not find (.*) at either of these locations: .*", str(error), re.DOTALL)
    if said:
        name = said[1]
    elif error.errno == errno.ENOENT and isinstance(error.filename, str):
        name = error.filename
    else:
        return None
    if name.startswith(("/", "~")) or ".." in name.split("/"):
        inside = os.path.basename(name)
        return {
            "message": f"there is no file {name!r}",
            "hint": "a scene is rendered away from your machine and sees only what was sent with it, below its own folder: "
            f"send it with --with {name} and write {inside!r} in the scene",
        }
    return {
        "message": f"there is no file {name!r}",
        "hint": "a scene is rendered away from your machine and has only the files that were sent with it: "
        f"send it with --with {name} (over HTTP as a part `files` of the form), or draw it",
    }


def _what_is_full(number: int) -> tuple[str, str]:
    if number == errno.EFBIG:
        return "the render wrote a file larger than its limit", hints.SIZE
    data, names = _full(".")
    if any(_full(walls.TMP_DIR)) and not (data or names):
        room = f"{walls.TMP_BYTES // 2**20} MiB and {walls.TMP_FILES} files"
        return f"the render filled {walls.TMP_DIR}, which has {room}", hints.TMP
    if names:
        return "the render made more files than its limit", hints.FILES
    return "the render filled its folder up to the limit", hints.DATA


def _full(folder: str) -> tuple[bool, bool]:
    """Whether its file system has no room for data, and none for files."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return False, False
    return room.f_bavail == 0, room.f_ffree == 0


def _nearest(error: BaseException) -> str | None:
    """The name that was probably meant, for the errors that Python knows it for."""
    try:
        if isinstance(error, NameError) and error.name:
            names = set(dir(builtins))
            last = error.__traceback__
            while last is not None and last.tb_next is not None:
                last = last.tb_next
            if last is not None:
                names.update(last.tb_frame.f_locals, last.tb_frame.f_globals)
            return _did_you_mean(error.name, names)
        if isinstance(error, TypeError):
            return _nearest_argument(error)
        if isinstance(error, AttributeError) and error.name:
            return _did_you_mean(error.name, set(dir(error.obj)))
        if isinstance(error, ImportError) and error.name and (
            found := re.match(r"cannot import name '(\w+)'", str(error))
        ):
            return _did_you_mean(found[1], set(dir(sys.modules.get(error.name))))
        if isinstance(error, ModuleNotFoundError):
            return "only Manim and what it depends on is installed in the sandbox"
    except Exception:  # noqa: BLE001 - tenant objects: a hint is never worth a failure
        return None
    return None


def _nearest_argument(error: TypeError) -> str | None:
    said = re.search(r"(?:(\w+)\.)?(\w+)\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if not said:
        return None
    owner, function, wrong = said.groups()
    names: set[str] = set()
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is not None:
        # A constructor passes on what it does not know: every base has names to offer.
        target = last.tb_frame.f_locals.get("self")
        classes = list(type(target).__mro__) if function == "__init__" and target is not None else []
        scope = {**vars(manim), **last.tb_frame.f_globals}
        if isinstance(scope.get(owner), type):
            classes += scope[owner].__mro__
        functions = [vars(each).get(function) for each in classes] or [scope.get(function)]
        for each in functions:
            code = getattr(inspect.unwrap(each) if callable(each) else each, "__code__", None)
            if code is not None:
                names.update(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    return _did_you_mean(wrong, names - {"self", wrong})


def _did_you_mean(name: str, names: set[str]) -> str | None:
    if len(name) > 100:
        return None
    if not name.startswith("_"):
        names = {each for each in names if not each.startswith("_")}
    near = difflib.get_close_matches(name, [n for n in names if isinstance(n, str)], n=1, cutoff=0.7)
    return f"did you mean {near[0]!r}?" if near else None
