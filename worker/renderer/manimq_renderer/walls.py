"""The walls around a job, its TeX runs and the probe of its output.

``enter_job_namespaces`` and ``make_job_folders`` run in the guard. The
``confine_*`` functions run in a freshly forked child, in this order: capabilities, resource
limits, Landlock, seccomp. After them there is no way back, so
each child confines itself before it reads one byte that a tenant wrote.

At level ``full`` each job has namespaces, and its folders are tmpfs that die with
them. At level ``container`` there is neither: its folders are below the slot's
area, the guard removes them, and ``watch.py`` bounds what no limit of the kernel does.

Why each wall is there, and what it costs, is in ARCHITECTURE.md.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import folders, linux
from .protocol import Limits

# Where things are. Set once, by the zygote (``use_level``) and at level ``container``
# by each guard (``make_job_folders``), before there is anybody who could see another value.
JOB_DIR = "/job"
"""A job's own folder, its working directory."""
TMP_DIR = "/tmp"
"""A job's folder for temporary files."""
TEX_DIR = "/texjob"
"""Where TeX runs: below it a fresh folder per formula."""
_area: str | None = None
"""The slot's own folder; None at level ``full``."""

JOB_NICE = 1
"""Behind the worker, which renews leases, and the guards: enough for who sleeps
most of the time, and on a busy machine a job still gets a fair share."""
SCOUT_THREADS_MAX = 32
SCOUT_NICE = 7
"""A quarter of a job's share where both want the same core."""

_MIB = 1024 * 1024
TMP_BYTES, TMP_FILES = 32 * _MIB, 512
"""What fits into ``TMP_DIR`` at level ``full``: a sound that Manim unpacks, and small things."""
TEX_DISK_BYTES_MAX = 64 * _MIB
TEX_FILES_MAX = 1024
_SIGNALS_MAX = 256
"""Signals that wait, and timers that will send one: counted per user, and kept in the kernel's memory."""
_READ = linux.LL_READ_FILE | linux.LL_READ_DIR
# No right to make a symbolic link, FIFO, socket or device, and none to execute.
_WRITE = (
    _READ
    | linux.LL_WRITE_FILE
    | linux.LL_TRUNCATE
    | linux.LL_MAKE_REG
    | linux.LL_MAKE_DIR
    | linux.LL_REMOVE_FILE
    | linux.LL_REMOVE_DIR
    | linux.LL_REFER
)
_DEV_NULL = ("/dev/null", linux.LL_READ_FILE | linux.LL_WRITE_FILE)
_DEVICES = ("/dev/urandom", "/dev/random", "/dev/zero")
_PRIVATE = frozenset({"/usr/local", "/usr/local/etc", "/usr/local/src", "/usr/src"})
"""What an operator may keep there (settings with keys, sources) is no business of a scene's.
``/usr/local`` itself is opened by what is in it."""
_readable: tuple[str, ...] = ("/etc", "/var/cache/fontconfig", "/opt")
_tex_readable: tuple[str, ...] = ("/etc", "/var/lib/texmf")
_programs: tuple[str, ...] = ()


def use_level(level: str, places: Sequence[str]) -> None:
    """What the worker says of this slot, before anything else."""
    global _area, _readable, _tex_readable, _programs
    _programs = tuple(_below_usr())
    if level == "container":
        # No view of one's own: Landlock alone says what there is to read.
        _area, *readable = places
        _readable = tuple(readable)
        _tex_readable = tuple(path for path in readable if path.startswith(("/etc/", "/var/lib/texmf")))
    elif level != "full":
        raise ValueError(f"there is no sandbox level {level!r}")


def area() -> str:
    """At level ``container``: the slot's own folder."""
    assert _area is not None
    return _area


def level() -> str:
    """The level of this slot."""
    return "full" if _area is None else "container"


def _below_usr() -> list[str]:
    paths = []
    for folder in ("/usr", "/usr/local"):
        paths += [f"{folder}/{name}" for name in sorted(os.listdir(folder))]
    return [path for path in paths if path not in _PRIVATE]


@dataclass(frozen=True, slots=True)
class Filters:
    """Raw seccomp programs, compiled by the worker (``sandbox/local/filters.rs``)."""

    job: bytes
    tex: bytes


def enter_job_namespaces() -> None:
    """Give the guard and what it forks namespaces of their own.

    No new user namespace: the slot's own is enough, and the outer seccomp
    filter keeps everybody in the slot from making one.
    """
    if _area is not None:
        return
    linux.unshare(
        linux.CLONE_NEWNS
        | linux.CLONE_NEWIPC
        | linux.CLONE_NEWNET
        | linux.CLONE_NEWUTS
        | linux.CLONE_NEWCGROUP
    )
    linux.mount_private_root()


def make_job_folders() -> None:
    """At level ``container``: fresh folders for the job and for TeX, before anybody is forked who must know them."""
    if _area is not None:
        _make_plain_folders()


def mount_job_folders(limits: Limits) -> None:
    """At level ``full``: fresh folders for the job, and nothing at all in /proc.

    They die with the namespace: nothing is ever cleaned up, so nothing of a job can
    be left for the next one. Who was forked before sees them, too.
    """
    if _area is not None:
        return
    plain = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_NOSYMFOLLOW
    linux.mount_tmpfs(JOB_DIR, plain, f"size={limits.disk_bytes},nr_inodes={limits.disk_files},mode=700")
    linux.mount_tmpfs(TMP_DIR, plain, f"size={TMP_BYTES},nr_inodes={TMP_FILES},mode=700")
    linux.mount_tmpfs("/proc", plain | linux.MS_RDONLY, "size=4k,mode=555")


def renew_job_folders(limits: Limits) -> None:
    """At level ``full``: fresh folders in the place of a dead job's, which are gone with all that is in them."""
    for folder in (JOB_DIR, TMP_DIR, "/proc"):
        linux.unmount(folder)
    mount_job_folders(limits)


def _make_plain_folders() -> None:
    global JOB_DIR, TMP_DIR, TEX_DIR
    # The worker removes what is named so, should the guard not get to it.
    top = f"{_area}/job-{os.getpid()}"
    JOB_DIR, TMP_DIR, TEX_DIR = (f"{top}/{below}" for below in ("work", "tmp", "tex"))
    for folder in (top, JOB_DIR, TMP_DIR, TEX_DIR):
        os.mkdir(folder, 0o700)


def remove_job_folders() -> None:
    """Take away what ``make_job_folders`` has made; nobody is alive who could write there."""
    if _area is not None:
        folders.remove(os.path.dirname(JOB_DIR))


def enter_scout_namespaces(limits: Limits) -> None:
    """The same for a scout, from within the job's: its own, with nothing of the job in them."""
    if _area is None:
        enter_job_namespaces()
        # Taken away rather than covered, so that a scout cannot keep the job's pages.
        for folder in (JOB_DIR, TMP_DIR, "/proc"):
            linux.unmount(folder)
        try:
            linux.unmount(TEX_DIR)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise  # EINVAL: no formula is being set
    make_job_folders()
    mount_job_folders(limits)


def scout_folder(pid: int) -> str | None:
    """Where the scout ``pid`` has its folders, if somebody must remove them."""
    return None if _area is None else f"{_area}/job-{pid}"


def mount_tex_places(count: int) -> None:
    """Room for so many formulas at a time. It can be written by the guard only."""
    if _area is not None:
        return
    plain = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_NOSYMFOLLOW
    linux.mount_tmpfs(TEX_DIR, plain, "size=64k,nr_inodes=64,mode=700")
    for place in range(count):
        os.mkdir(tex_folder(place))


def tex_folder(place: int) -> str:
    """Where the formula in a place is set."""
    return f"{TEX_DIR}/{place}"


def mount_tex_folder(place: int) -> None:
    """A fresh folder for one formula."""
    if _area is not None:
        os.mkdir(tex_folder(place), 0o700)
        return
    plain = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_NOSYMFOLLOW
    linux.mount_tmpfs(tex_folder(place), plain, f"size={TEX_DISK_BYTES_MAX},nr_inodes={TEX_FILES_MAX},mode=700")


def unmount_tex_folder(place: int) -> None:
    """The formula is set and collected."""
    if _area is not None:
        folders.remove(tex_folder(place))
    else:
        linux.unmount(tex_folder(place))


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    resource.setrlimit(kind, (soft, soft if hard is None else hard))


def _prepare(rules: Iterable[tuple[str, int]]) -> linux.Landlock:
    """What needs nothing of a job: give up all capabilities, and collect what may be read of the system."""
    linux.drop_all_capabilities()
    landlock = linux.Landlock()
    landlock.allow(rules)
    return landlock


def _confine(
    landlock: linux.Landlock,
    seccomp: bytes,
    rules: Iterable[tuple[str, int]],
    *,
    cpu_s: int,
    memory_bytes: int,
    file_bytes: int,
    files: int,
    processes: int,
) -> None:
    # Soft before hard, so that a job can still say which line used the time:
    # it runs as pid 1 of its namespace, which ignores SIGXCPU without a handler.
    _limit(resource.RLIMIT_CPU, cpu_s, cpu_s + 3)
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_NOFILE, files)
    _limit(resource.RLIMIT_NPROC, processes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_MEMLOCK, 0)
    _limit(resource.RLIMIT_SIGPENDING, _SIGNALS_MAX)
    _limit(resource.RLIMIT_STACK, 8 * _MIB)
    landlock.allow(rules)
    landlock.restrict()
    linux.install_seccomp(linux.place_pid(seccomp, os.getpid()))


def prepare_scene() -> linux.Landlock:
    """The first half of ``confine_job`` and ``confine_scout``, ahead of the job: half of their time."""
    return _prepare([*((path, _READ) for path in (*_programs, *_readable, *_DEVICES)), _DEV_NULL])


def confine_job(prepared: linux.Landlock, filters: Filters, limits: Limits, address_space_bytes: int) -> None:
    """For the process that runs the scene: reads the system, writes its folder.

    ``memory_bytes`` counts what the job may add to the ``address_space_bytes``
    that it inherits from the zygote.
    """
    os.nice(JOB_NICE)
    _confine_scene(prepared, filters, limits, address_space_bytes, limits.threads)


def confine_scout(prepared: linux.Landlock, filters: Filters, limits: Limits, address_space_bytes: int) -> None:
    """For the process that runs the same scene ahead of the job: the same walls.

    Threads count per user, so the scout's limit is far below the job's: it can
    never take the last ones.
    """
    os.nice(SCOUT_NICE)
    _confine_scene(prepared, filters, limits, address_space_bytes, SCOUT_THREADS_MAX)


def _confine_scene(
    prepared: linux.Landlock, filters: Filters, limits: Limits, address_space_bytes: int, threads: int
) -> None:
    _confine(
        prepared,
        filters.job,
        [(JOB_DIR, _WRITE), (TMP_DIR, _WRITE)],
        cpu_s=limits.cpu_s,
        memory_bytes=address_space_bytes + limits.memory_bytes,
        file_bytes=limits.output_bytes,
        files=limits.open_files,
        processes=_user_limit(threads),
    )


def _user_limit(processes: int) -> int:
    """For a limit that the kernel counts per user: without namespaces, of all that he runs.

    So others of the same user do not stop a job from starting its threads; each
    job's own are counted by the guard (``watch.py``).
    """
    return processes if _area is None else processes + _processes_of_user()


def _processes_of_user() -> int:
    own = os.getuid()
    count = 0
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                if os.stat(f"/proc/{name}").st_uid == own:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                pass  # it has just ended
    return count


def confine_tex(filters: Filters, folder: str) -> None:
    """For latex and dvisvgm: may become a program below /usr, starts none, sees no
    tenant file and no other formula's folder."""
    system = [
        *((path, _READ | linux.LL_EXECUTE) for path in _programs),
        *((path, _READ) for path in _tex_readable),
        ("/dev/urandom", _READ),
        _DEV_NULL,
    ]
    _confine(
        _prepare(system),
        filters.tex,
        [(folder, _WRITE)],
        cpu_s=10,
        memory_bytes=1024 * _MIB,
        file_bytes=16 * _MIB,
        files=128,
        processes=_user_limit(64),
    )


def confine_probe(filters: Filters, address_space_bytes: int) -> None:
    """For the reader of a finished file: reads the job's folder and nothing else."""
    _confine(
        _prepare([]),
        filters.job,
        [(JOB_DIR, _READ)],
        cpu_s=20,
        memory_bytes=address_space_bytes + 512 * _MIB,
        file_bytes=0,
        files=32,
        processes=_user_limit(64),
    )
