"""What to do about a failure: the last line of its report, for who wrote the scene."""

from __future__ import annotations

_TIME = {
    "timeout": "make the scene shorter or render at a lower quality; "
    "a scene that is really long needs more time: --timeout (API: timeout_s)",
    "stalled": "look for a loop or a wait that makes no frame and does not end",
    "cpu": "draw fewer or simpler objects, or render at a lower quality: it computed for too long",
}
MEMORY = "keep fewer objects and pictures at a time, use simpler objects, or render at a lower quality"
DATA = (
    "write less, and remove files when they are read; "
    "the film's own pieces count too: shorten it or lower its quality"
)
TMP = "write to the working folder, where there is more room: open(\"name\"), not tempfile"
FILES = "make fewer files, and remove those that are done with"
DEPTH = "put files side by side: the scene has one folder of its own"
SIZE = "shorten the scene, ask for a lower quality or fewer frames a second, or write smaller files"
FRAMES = "shorten the scene, or ask for fewer frames a second"
PIXELS = "ask for a lower quality or a smaller size, and set no larger one in the scene's config"
OPEN_FILES = "close files when they are read: with open(…) as file"
THREADS = "a scene needs no threads of its own"
PROCESSES = "a scene needs no processes of its own: leave out os.fork() and multiprocessing"
WALLS = "a scene has no network, cannot start programs and writes only to its own folder"
PIPE = "a scene must write to no file descriptor that it has not opened itself"
OUTPUT = "let Manim write the film: a scene must not make, move or replace it by itself"
EXIT = "leave out os._exit() and whatever ends the process: return from construct() to end the scene"
CALLED_EXIT = "leave out exit() and sys.exit(): return from construct() to end the scene"
CRASH = "a library below Python crashed: look for ctypes, deep recursion in C or broken data near this line"
RECURSION = "a function calls itself without end: look for the condition that should stop it"
ALPHA = "use `--format mov` or `--format webm` (API: output.format), which have an alpha channel, or leave out what makes it transparent"


def of_format(wanted: str, made: str) -> str:
    """By the format that the job asks for, and the one that the scene's own settings make."""
    keep = f"leave what sets it (config.format, transparent, save_last_frame) out of the scene to get {wanted}"
    if made == "png-sequence":
        return keep
    return f"use `--format {made}` (API: output.format), or {keep}"


def of_time(stop: str, loop: int | None) -> str:
    """By why the guard has ended the job, and the line of the loop that it was in."""
    return f"does the loop at line {loop} end? Else {_TIME[stop]}" if loop else _TIME[stop]
