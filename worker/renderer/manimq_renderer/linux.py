"""The Linux calls that Python's standard library does not offer.

Thin and typed: each function is one system call (or one struct and one call),
raises ``OSError`` and decides nothing. What to allow lives in ``walls.py``.
"""

from __future__ import annotations

import ctypes
import os
import platform
import select
import signal
import struct
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_NOSYMFOLLOW = 0x100
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_JUMP_IF_EQUAL = 0x15
_OWN_PID = 0x7E57_91D0
"""Mirrors ``OWN_PID`` in ``filters.rs``."""

_AARCH64 = platform.machine() == "aarch64"
_SYS_UNSHARE = 97 if _AARCH64 else 272
_SYS_SECCOMP = 277 if _AARCH64 else 317
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
_SYS_CAPSET = 91 if _AARCH64 else 126
# The calls below were added after the tables were unified: one number for all.
_SYS_CLOSE_RANGE = 436
_SYS_OPENAT2 = 437
_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_ADD_RULE = 445
_SYS_LANDLOCK_RESTRICT_SELF = 446
_MNT_DETACH = 2


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _syscall(what: str, number: int, *args: int | ctypes.Array[ctypes.c_char] | None) -> int:
    words = [
        ctypes.c_void_p(ctypes.addressof(a)) if isinstance(a, ctypes.Array) else ctypes.c_long(a or 0)
        for a in args
    ]
    return _check(_libc.syscall(ctypes.c_long(number), *words), what)


def unshare(flags: int) -> None:
    """Move the caller (or, for a pid namespace, its next children) into new namespaces."""
    _syscall("unshare", _SYS_UNSHARE, flags)


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind ``fd``."""
    _check(_libc.setns(fd, kind), "setns")


def prctl(option: int, a: int = 0, b: int = 0) -> int:
    """``prctl`` with integers only."""
    return _check(
        _libc.prctl(option, ctypes.c_ulong(a), ctypes.c_ulong(b), ctypes.c_ulong(0), ctypes.c_ulong(0)),
        f"prctl {option}",
    )


def die_with(parent: int) -> None:
    """Be killed when ``parent`` (ours, or what the caller was forked from) ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have ended before the kernel was told. A child that is pid 1 of a new
    # pid namespace sees 0, and dies with its namespace's parent all the same.
    if os.getppid() not in (parent, 0):
        os._exit(1)


def is_over(pidfd: int) -> bool:
    """Whether the process behind ``pidfd`` has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def end_group(leader: int) -> None:
    """Kill the process group of a child. Reap it with ``reap_group``."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


def reap_group(leader: int) -> tuple[int, float]:
    """Wait for a child that leads a process group, and then for all of its group. Its status, and what all used of a processor.

    The caller is a subreaper, so whoever lost his parent in that group is ours.
    """
    _, status, usage = os.wait4(leader, 0)
    used_s = usage.ru_utime + usage.ru_stime
    while True:
        try:
            _, _, usage = os.wait4(-leader, 0)
            used_s += usage.ru_utime + usage.ru_stime
        except ChildProcessError:
            return status, used_s


def mount_private_root() -> None:
    """Stop mounts made from here on from reaching any other namespace."""
    _check(
        _libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None),
        "mount --make-rprivate /",
    )


def mount_tmpfs(target: str, flags: int, options: str) -> None:
    """A fresh tmpfs over ``target``."""
    _check(
        _libc.mount(b"tmpfs", target.encode(), b"tmpfs", ctypes.c_ulong(flags), options.encode()),
        f"mount tmpfs on {target}",
    )


def unmount(target: str) -> None:
    """Take the topmost mount off ``target`` at once, whoever still uses it."""
    _check(_libc.umount2(target.encode(), _MNT_DETACH), f"umount {target}")


def close_all_from(first: int) -> None:
    """Close every descriptor that is at least ``first``."""
    _syscall("close_range", _SYS_CLOSE_RANGE, first, 0xFFFF_FFFF, 0)


def drop_all_capabilities() -> None:
    """Empty every capability set, the bounding set included, and forbid gaining any."""
    for capability in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break  # past the last capability of this kernel
    prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x2008_0522, 0), 8)
    nothing = ctypes.create_string_buffer(24)
    _syscall("capset", _SYS_CAPSET, header, nothing)
    prctl(PR_SET_NO_NEW_PRIVS, 1)


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def install_seccomp(program: bytes) -> None:
    """Install one raw BPF program for this thread, for good. Needs no_new_privs."""
    code = ctypes.create_string_buffer(program, len(program))
    prog = _SockFprog(len(program) // 8, ctypes.addressof(code))
    _check(
        _libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(prog), 0, 0),
        "prctl PR_SET_SECCOMP",
    )


def install_seccomp_listener(program: bytes) -> int:
    """Install one more raw BPF program, for good. The descriptor on which it asks."""
    code = ctypes.create_string_buffer(program, len(program))
    prog = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    flags = _SECCOMP_FILTER_FLAG_NEW_LISTENER
    return _syscall("seccomp", _SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, flags, ctypes.create_string_buffer(prog, len(prog)))


# Landlock file system rights, in bit order (linux/landlock.h).
LL_EXECUTE = 1 << 0
LL_WRITE_FILE = 1 << 1
LL_READ_FILE = 1 << 2
LL_READ_DIR = 1 << 3
LL_REMOVE_DIR = 1 << 4
LL_REMOVE_FILE = 1 << 5
LL_MAKE_DIR = 1 << 7
LL_MAKE_REG = 1 << 8
LL_REFER = 1 << 13
LL_TRUNCATE = 1 << 14
LL_IOCTL_DEV = 1 << 15
LL_FOR_FILES = LL_EXECUTE | LL_WRITE_FILE | LL_READ_FILE | LL_TRUNCATE | LL_IOCTL_DEV


def place_pid(program: bytes, pid: int) -> bytes:
    """A BPF program with ``pid`` where ``filters.rs`` left room for it."""
    placed, mark = bytearray(program), struct.pack("=I", _OWN_PID)
    # Searched for and not stepped through: every job waits for this.
    at = placed.find(mark)
    while at >= 0:
        if at % 8 == 4 and struct.unpack_from("=H", placed, at - 4)[0] == _JUMP_IF_EQUAL:
            struct.pack_into("=I", placed, at, pid)
        at = placed.find(mark, at + 1)
    return bytes(placed)


def landlock_abi() -> int:
    """Landlock version of this kernel; 0 where there is none."""
    try:
        return _syscall("landlock", _SYS_LANDLOCK_CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


class Landlock:
    """A wall in the making: denies everything that this kernel's Landlock can deny, but for what is allowed.

    No TCP, and (ABI 6) no signal and no abstract socket beyond the own domain.
    """

    def __init__(self) -> None:
        abi = landlock_abi()
        self._handled = (1 << (16 if abi >= 5 else 15 if abi >= 3 else 14 if abi >= 2 else 13)) - 1
        size = 24 if abi >= 6 else 16 if abi >= 4 else 8
        attributes = ctypes.create_string_buffer(struct.pack("=QQQ", self._handled, 3, 3), 24)
        self._ruleset = _syscall("landlock_create_ruleset", _SYS_LANDLOCK_CREATE_RULESET, attributes, size, 0)

    def allow(self, rules: Iterable[tuple[str, int]]) -> None:
        """Add rules: each a path, with all that is below it, and its rights.

        A path that does not exist is skipped, which can only make the wall higher.
        """
        for path, rights in rules:
            try:
                beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                if not os.path.isdir(path):
                    rights &= LL_FOR_FILES
                rule = ctypes.create_string_buffer(struct.pack("=Qi", rights & self._handled, beneath), 12)
                _syscall("landlock_add_rule", _SYS_LANDLOCK_ADD_RULE, self._ruleset, 1, rule, 0)
            finally:
                os.close(beneath)

    def restrict(self) -> None:
        """Put the wall up around this thread, for good. Needs no_new_privs."""
        _syscall("landlock_restrict_self", _SYS_LANDLOCK_RESTRICT_SELF, self._ruleset, 0)
        os.close(self._ruleset)


_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08


def open_beneath(directory: int, path: str) -> int:
    """Open a file below ``directory`` for reading without following anything.

    No symbolic or magic link on the way, no other mount, never above the
    directory, never blocking on a FIFO.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    resolve = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
    how = ctypes.create_string_buffer(struct.pack("=QQQ", flags, 0, resolve), 24)
    name = ctypes.create_string_buffer(path.encode())
    return _syscall("openat2", _SYS_OPENAT2, directory, name, how, 24)
