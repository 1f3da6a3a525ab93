"""LaTeX for a job that may not start programs: the broker, on the guard's side.

A plain ``Tex()`` is remote code execution on a stock machine: dvisvgm hands
``ps:`` specials to Ghostscript, whose ``%pipe%`` runs a command, whatever TeX's
own settings say. So TeX runs in its own walls, in a folder of its own, with
fixed arguments, ``--no-specials=ps``, and no way to see the tenant's files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any

from . import linux, tex_words, walls
from .protocol import TEX_CHARS_MAX, clean_text

COMPILE_SECONDS_MAX = 15.0
SVG_BYTES_MAX = 4 * 1024 * 1024
_LOG_BYTES_MAX = 512 * 1024
_SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"

# Exit statuses of the confined child; dvisvgm, which it becomes, has others.
_TEX_FAILED = 77
_NOT_CONFINED = 78

_ENVIRONMENT = {
    "PATH": _SEARCH_PATH,
    "TEXMFHOME": "/nonexistent",
    "LANG": "C.UTF-8",
    # Paranoid: no absolute path, no parent folder, no dot file.
    "openin_any": "p",
    "openout_any": "p",
    # Without these an unknown font starts shell scripts.
    "MKTEXTFM": "0",
    "MKTEXPK": "0",
    "MKTEXMF": "0",
    # Error lines in the log stay whole, and what TeX had read as long as it can be.
    "max_print_line": "1000",
    "error_line": "254",
    "half_error_line": "238",
}


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the TeX programs are in this sandbox; None for what is not installed."""

    latex: str | None
    xelatex: str | None
    dvisvgm: str | None

    @classmethod
    def find(cls) -> Programs:
        """Look once, when the zygote starts."""
        return cls(*(shutil.which(name, path=_SEARCH_PATH) for name in ("latex", "xelatex", "dvisvgm")))

    def versions(self) -> dict[str, str | None]:
        """First line of ``--version`` of each, for the worker's report."""
        return {"latex": _version(self.latex), "dvisvgm": _version(self.dvisvgm)}


def _version(program: str | None) -> str | None:
    if program is None:
        return None
    try:
        found = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=True, env=_ENVIRONMENT
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return (found.stdout.splitlines() or [""])[0].strip()[:120] or None


@dataclass(frozen=True, slots=True)
class Request:
    """One formula to set, checked."""

    text: str
    program: str
    arguments: tuple[str, ...]
    product: str
    dvisvgm: str
    key: str = field(init=False)
    """Everything that decides what its picture looks like, in one word."""

    def __post_init__(self) -> None:
        parts = [self.program, *self.arguments, self.product, self.dvisvgm, self.text]
        object.__setattr__(self, "key", hashlib.sha256(json.dumps(parts).encode()).hexdigest())


def refusal(kind: str, message: str, errors: list[str] | None = None) -> dict[str, Any]:
    """A negative answer to a job."""
    return {"ok": False, "kind": kind, "message": message, "errors": errors or []}


def _missing(compiler: str, programs: Programs) -> str:
    if compiler == "xelatex" and programs.latex is not None and programs.dvisvgm is not None:
        return (
            "xelatex is not installed on this worker, so this template cannot be used; use one for latex, "
            "such as Manim's own, or have texlive-xetex installed on the worker"
        )
    missing = "dvisvgm" if programs.dvisvgm is None else compiler
    return (
        f"{missing} is not installed on this worker, so Tex and MathTex cannot be rendered; "
        "the worker was set up with --no-latex: run deploy/setup without it, or use Text instead"
    )


def parse_request(event: dict[str, Any], programs: Programs) -> Request | dict[str, Any]:
    """Check what a job asks for. Returns the request, or the refusal to send back."""
    text = event.get("text")
    compiler = event.get("compiler")
    extension = event.get("extension")
    if not isinstance(text, str) or len(text) > TEX_CHARS_MAX:
        return refusal("limit", f"a formula may have at most {TEX_CHARS_MAX} characters of LaTeX")
    if compiler == "latex" and extension == ".dvi":
        program, arguments = programs.latex, ("-output-format=dvi",)
    elif compiler == "xelatex" and extension == ".xdv":
        program, arguments = programs.xelatex, ("-no-pdf",)
    else:
        shown = f"{clean_text(compiler, 40)} with {clean_text(extension, 10)} output"
        return refusal(
            "refused", f"the sandbox runs latex (.dvi) and xelatex (.xdv), not {shown}"
        )
    if program is None or programs.dvisvgm is None:
        return refusal("missing", _missing(compiler, programs))
    return Request(text, program, arguments, f"job{extension}", programs.dvisvgm)


def run_confined(request: Request, filters: walls.Filters, nice: int, folder: str) -> None:
    """Body of the forked child: set the formula in ``folder``. Never returns.

    Both programs run behind walls that let nobody start another process: a child
    becomes the first, then this process the second.
    """
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        source = os.open("job.tex", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(source, request.text.encode(errors="replace"))
        null = os.open("/dev/null", os.O_RDWR)
        for target in (0, 1, 2):
            os.dup2(null, target)
        linux.close_all_from(3)
        os.nice(nice)
        environment = {**_ENVIRONMENT, "HOME": folder, "TEXMFVAR": folder}
        own_pid = os.getpid()
        latex = os.fork()
        if latex == 0:
            linux.die_with(own_pid)
            _become(filters, folder, environment, request.program, *_latex_arguments(request))
        if os.waitpid(latex, 0)[1] != 0:
            os._exit(_TEX_FAILED)
        _become(filters, folder, environment, request.dvisvgm, *_dvisvgm_arguments(request))
    finally:
        os._exit(_NOT_CONFINED)


def _become(filters: walls.Filters, folder: str, environment: dict[str, str], program: str, *arguments: str) -> None:
    walls.confine_tex(filters, folder)
    os.execve(program, [os.path.basename(program), *arguments], environment)


def _latex_arguments(request: Request) -> tuple[str, ...]:
    return (
        "-no-shell-escape",
        "-interaction=batchmode",
        "-halt-on-error",
        *request.arguments,
        "job.tex",
    )


def _dvisvgm_arguments(request: Request) -> tuple[str, ...]:
    # A name that dvisvgm does not know in this list would disable nothing at
    # all, silently: exactly "ps". Manim's own formulas need "dvisvgm:raw".
    return (
        "--page=1",
        "--no-fonts",
        "--verbosity=0",
        "--no-mktexmf",
        "--no-specials=ps",
        "--output=job.svg",
        request.product,
    )


def collect(directory: int, status: int) -> tuple[dict[str, Any], bytes]:
    """Read the result after the whole TeX tree is dead: header and SVG for the job."""
    if status == 0:
        svg = _read(directory, "job.svg", SVG_BYTES_MAX)
        if svg:
            return {"ok": True, "bytes": len(svg)}, svg
    if os.WIFSIGNALED(status):
        return refusal("limit", f"LaTeX was stopped after {COMPILE_SECONDS_MAX:.0f} seconds"), b""
    log = _read(directory, "job.log", _LOG_BYTES_MAX).decode(errors="replace")
    errors = tex_words.errors(log)
    if os.WEXITSTATUS(status) == _TEX_FAILED:
        summary = errors[0] if errors else "LaTeX stopped without an error message"
        return refusal("error", summary, errors), b""
    return refusal("error", "dvisvgm made no picture of this formula", errors), b""


def _read(directory: int, name: str, bytes_max: int) -> bytes:
    try:
        fd = linux.open_beneath(directory, name)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as file:
        data = file.read(bytes_max + 1)
    return data if len(data) <= bytes_max else b""
