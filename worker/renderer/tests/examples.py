"""Manim's own documented examples, rendered by the command and by our stream.

    examples.py list                      all examples, a JSON object a line
    examples.py render FOLDER NUMBER…     these, as ``manim render -ql --seed 0`` does it

Every ``.. manim::`` block in a docstring of the installed package is an example.
``render`` forks a process for each, with Manim imported: the first runs the
command itself and leaves ``FOLDER/NUMBER/scene.py`` and its film or picture, the
second our stream writer. A line of JSON each says whether the frames of both were
equal before they were encoded.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import resource
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tqdm  # noqa: E402

tqdm.tqdm.monitor_interval = 0  # a thread would not survive the forks

import manim  # noqa: E402
from manim import config  # noqa: E402
from manim.manager import Manager  # noqa: E402
from manim.scene.video_segment_encoder import VideoSegmentEncoder  # noqa: E402

from manimq_renderer import engine, fast_paths, scene, stream  # noqa: E402

SECONDS_MAX = 240
"""Longest render of one example by one of the two."""
_ERROR = re.compile(r"^\w*(?:Error|Exception): ")
_BLOCK = re.compile(r"^([ \t]*)\.\. manim:: (\w+)[ \t]*\n((?:\1[ \t]+\S.*\n|[ \t]*\n)+)", re.MULTILINE)


def examples() -> Iterator[dict[str, Any]]:
    """All of them, always in the same order."""
    package = Path(manim.__file__).parent
    for file in sorted(package.rglob("*.py")):
        for text in _docstrings(ast.parse(file.read_text(encoding="utf-8"))):
            for _, name, block in _BLOCK.findall(text + "\n"):
                lines = textwrap.dedent(block).strip("\n").splitlines()
                options = []
                while lines and lines[0].strip().startswith(":"):
                    options.append(lines.pop(0).strip())
                yield {
                    "name": name,
                    "file": str(file.relative_to(package)),
                    "still": ":save_last_frame:" in options,
                    "source": "from manim import *\n\n" + textwrap.dedent("\n".join(lines)).strip("\n") + "\n",
                }


def _docstrings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield textwrap.dedent(text)


def render(folder: Path, number: int, example: dict[str, Any]) -> dict[str, Any]:
    """Both renders of one example."""
    place = folder / str(number)
    place.mkdir(parents=True)
    file = place / "scene.py"
    file.write_text(example["source"], encoding="utf-8")
    bare, bare_sums = _in_child(place / "bare", lambda: _command(example, file))
    fast, fast_sums = _in_child(place / "fast", lambda: _stream(example, file))
    return {
        "number": number,
        **{key: example[key] for key in ("name", "file", "still")},
        "bare": bare,
        "fast": fast,
        "frames": len(bare_sums),
        "equal": bare == fast == "" and bare_sums == fast_sums,
    }


def _in_child(place: Path, work: Callable[[], None]) -> tuple[str, list[str]]:
    """What went wrong, or "", and the checksums that were noted."""
    place.mkdir()
    sums = place / "sums"
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(SECONDS_MAX)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.chdir(place)
            log = os.open("log", os.O_WRONLY | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            with sums.open("w") as noted:
                _note_into(noted)
                work()
            status = 0
        except BaseException:  # noqa: BLE001 - said in the log
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    wrong = "" if status == 0 else _reason((place / "log").read_text(errors="replace")) or str(status)
    return wrong, sums.read_text().split() if sums.exists() else []


def _reason(log: str) -> str:
    """The last line of a log that names an error; the command itself then ends with ``SystemExit``."""
    lines = (line.strip(" │") for line in log.splitlines())
    errors = [line for line in lines if _ERROR.match(line)]
    return errors[-1] if errors else log.strip()[-300:]


def _note_into(noted: Any) -> None:
    """Write the checksum of each frame, before it is encoded, wherever it goes."""

    def note(pixels: Any, repeat: int) -> None:
        noted.write((hashlib.md5(pixels.tobytes()).hexdigest() + "\n") * repeat)

    write_frame, put = VideoSegmentEncoder.write_frame, stream.Stream.put

    def noted_write(self: Any, pixels: Any, *, repeat: int = 1) -> None:
        note(pixels, repeat)
        write_frame(self, pixels, repeat=repeat)

    def noted_put(self: Any, pixels: Any, repeat: int) -> None:
        note(pixels, repeat)
        put(self, pixels, repeat)

    VideoSegmentEncoder.write_frame = noted_write
    stream.Stream.put = noted_put


def _command(example: dict[str, Any], file: Path) -> None:
    from manim.__main__ import main

    flags = ["-ql", "--seed", "0", "--silent", "--progress_bar", "none", "--media_dir", "media"]
    still = ["-s"] if example["still"] else ["--disable_caching"]
    main(["render", *flags, *still, str(file), example["name"]], standalone_mode=False)
    made = [path for path in Path("media").rglob("*.*") if "partial_movie_files" not in path.parts]
    films = [path for path in made if path.suffix in (".mp4", ".png")]
    assert len(films) == 1, made
    films[0].rename(file.parent / f"bare{films[0].suffix}")


def _stream(example: dict[str, Any], file: Path) -> None:
    if example["still"]:
        return  # nothing is encoded: the picture itself is compared
    fast_paths.install()
    engine.install("fast", lambda event: None)
    config.notify_outdated_version = False
    config.progress_bar = "none"
    config.verbosity = "ERROR"
    config.quality = "low_quality"
    config.seed = 0
    config.input_file = str(file)
    module = scene.load_module(str(file), file.read_text(encoding="utf-8"))
    instance = scene.choose_scene(module, example["name"])()
    Manager(instance)
    instance.render()


def main(arguments: list[str]) -> None:
    all_of_them = list(examples())
    if arguments[:1] == ["list"]:
        for number, example in enumerate(all_of_them):
            print(json.dumps({"number": number, **example}))
    else:
        _, folder, *numbers = arguments
        for number in map(int, numbers):
            print(json.dumps(render(Path(folder), number, all_of_them[number])), flush=True)


main(sys.argv[1:])
