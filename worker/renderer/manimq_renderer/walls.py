"""The walls around a job, its TeX runs and the probe of its output.

``enter_job_namespaces`` and ``mount_job_folders`` run in the guard. The
``confine_*`` functions run in a freshly forked child, in this order: resource
limits, capabilities, Landlock, seccomp. After them there is no way back, so
each child confines itself before it reads one byte that a tenant wrote.

Why each wall is there, and what it costs, is in ARCHITECTURE.md.
"""

from __future__ import annotations

import errno
import os
import resource
from dataclasses import dataclass

from . import linux
from .protocol import Limits

JOB_DIR = "/job"
"""A job's own folder: a fresh tmpfs per job, its working directory."""
TEX_DIR = "/texjob"
"""Where TeX runs: below it a fresh tmpfs per formula."""

JOB_NICE = 1
"""Behind the worker, which renews leases, and the guards: enough for who sleeps
most of the time, and on a busy machine a job still gets a fair share."""
SCOUT_NICE = 7
"""A quarter of a job's share where both want the same core."""

_MIB = 1024 * 1024
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
_SYSTEM = ("/usr", "/etc", "/var/cache/fontconfig", "/dev/urandom", "/dev/random", "/dev/zero")
_RUNTIME = ("/opt",)


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
    linux.unshare(
        linux.CLONE_NEWNS
        | linux.CLONE_NEWIPC
        | linux.CLONE_NEWNET
        | linux.CLONE_NEWUTS
        | linux.CLONE_NEWCGROUP
    )
    linux.mount_private_root()


def mount_job_folders(disk_bytes: int) -> None:
    """Fresh tmpfs for the job and for TeX, and nothing at all in /proc.

    They die with the namespace: nothing is ever cleaned up, so nothing of a
    job can be left for the next one.
    """
    plain = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_NOSYMFOLLOW
    linux.mount_tmpfs(JOB_DIR, plain, f"size={disk_bytes},nr_inodes=8192,mode=700")
    linux.mount_tmpfs("/tmp", plain, f"size={32 * _MIB},nr_inodes=512,mode=700")
    linux.mount_tmpfs("/proc", plain | linux.MS_RDONLY, "size=4k,mode=555")


def renew_job_folders(disk_bytes: int) -> None:
    """Fresh folders in the place of a dead job's, which are gone with all that is in them."""
    for folder in (JOB_DIR, "/tmp", "/proc"):
        linux.unmount(folder)
    mount_job_folders(disk_bytes)


def enter_scout_namespaces(disk_bytes: int) -> None:
    """The same for a scout, from within the job's: its own, with nothing of the job in them."""
    enter_job_namespaces()
    # Taken away rather than covered, so that a scout cannot keep the job's pages.
    for folder in (JOB_DIR, "/tmp", "/proc"):
        linux.unmount(folder)
    try:
        linux.unmount(TEX_DIR)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise  # EINVAL: no formula is being set
    mount_job_folders(disk_bytes)


def mount_tex_places(count: int) -> None:
    """Room for so many formulas at a time. It can be written by the guard only."""
    plain = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_NOSYMFOLLOW
    linux.mount_tmpfs(TEX_DIR, plain, "size=64k,nr_inodes=64,mode=700")
    for place in range(count):
        os.mkdir(tex_folder(place))


def tex_folder(place: int) -> str:
    """Where the formula in a place is set."""
    return f"{TEX_DIR}/{place}"


def mount_tex_folder(place: int) -> None:
    """A fresh folder for one formula."""
    plain = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_NOSYMFOLLOW
    linux.mount_tmpfs(tex_folder(place), plain, f"size={64 * _MIB},nr_inodes=1024,mode=700")


def unmount_tex_folder(place: int) -> None:
    """The formula is set and collected."""
    linux.unmount(tex_folder(place))


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    resource.setrlimit(kind, (soft, soft if hard is None else hard))


def _confine(
    seccomp: bytes,
    rules: list[tuple[str, int]],
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
    _limit(resource.RLIMIT_STACK, 8 * _MIB)
    linux.drop_all_capabilities()
    linux.landlock_restrict(linux.landlock_abi(), rules)
    linux.install_seccomp(seccomp)


def confine_job(filters: Filters, limits: Limits, address_space_bytes: int) -> None:
    """For the process that runs the scene: reads the system, writes its folder.

    ``memory_bytes`` counts what the job may add to the ``address_space_bytes``
    that it inherits from the zygote.
    """
    os.nice(JOB_NICE)
    _confine_scene(filters, limits, address_space_bytes, processes=512)


def confine_scout(filters: Filters, limits: Limits, address_space_bytes: int) -> None:
    """For the process that runs the same scene ahead of the job: the same walls.

    Threads count per user, so the scout's limit is far below the job's: it can
    never take the last ones.
    """
    os.nice(SCOUT_NICE)
    _confine_scene(filters, limits, address_space_bytes, processes=32)


def _confine_scene(filters: Filters, limits: Limits, address_space_bytes: int, processes: int) -> None:
    _confine(
        filters.job,
        [
            *((path, _READ) for path in (*_SYSTEM, *_RUNTIME)),
            _DEV_NULL,
            (JOB_DIR, _WRITE),
            ("/tmp", _WRITE),
        ],
        cpu_s=limits.cpu_s,
        memory_bytes=address_space_bytes + limits.memory_bytes,
        file_bytes=limits.output_bytes,
        files=256,
        processes=processes,
    )


def confine_tex(filters: Filters, nice: int, folder: str) -> None:
    """For latex and dvisvgm: may start programs below /usr, sees no tenant file
    and no other formula's folder."""
    os.nice(nice)
    _confine(
        filters.tex,
        [
            ("/usr", _READ | linux.LL_EXECUTE),
            ("/etc", _READ),
            ("/var/lib/texmf", _READ),
            ("/dev/urandom", _READ),
            _DEV_NULL,
            (folder, _WRITE),
        ],
        cpu_s=10,
        memory_bytes=1024 * _MIB,
        file_bytes=16 * _MIB,
        files=128,
        processes=64,
    )


def confine_probe(filters: Filters, address_space_bytes: int) -> None:
    """For the reader of a finished file: reads the job's folder and nothing else."""
    _confine(
        filters.job,
        [(JOB_DIR, _READ)],
        cpu_s=20,
        memory_bytes=address_space_bytes + 512 * _MIB,
        file_bytes=0,
        files=32,
        processes=64,
    )
