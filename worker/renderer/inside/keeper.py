"""Keeps a renderer warm inside somebody else's sandbox: ``python3 -I -B keeper.py FOLDER SLOT UID_BASE WORKER ALONE``.

What the worker does for a slot on its own machine at level ``container`` (``bare.rs``) is done
here: a zygote behind the outer filter, as a user of its own if we are root, and a guard that
waits for the next job. Programs that the worker starts for each job (``job.py``) come to the
door and are handed the three descriptors of that guard. One at a time.

It ends by itself, and everything with it, when its worker gives no sign of life.
"""

from __future__ import annotations

import array
import base64
import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_RENDERER = os.path.dirname(_HERE)
sys.path[:0] = [_HERE, _RENDERER]

from frames import Frames, hide  # noqa: E402
from manimq_renderer import linux  # noqa: E402

READY_TIMEOUT_S = 60.0
"""From starting the zygote until it is warm."""
SETTLE_TIMEOUT_S = 10.0
"""From the end of a job's program until its guard is gone."""
LOOK_EVERY_S = 5.0
SILENT_LOOKS_MAX = 60
"""Without a sign of life of the worker's. Counted and not timed: the clock of a sandbox that was
in standby jumps, and its worker must have time to speak again."""
JOB_AGE_MAX_S = 3 * 3600.0
"""A job's folder that is older was left by a worker that died."""
USERS = 4096
MESSAGE_BYTES_MAX = 128 * 1024


class Unusable(Exception):
    """Why there will be no renderer, for the operator."""


class Taken(Exception):
    """Another worker is here, and one of the two keeps tenants apart."""


def move_in(folder: str, worker: str, alone: bool) -> int:
    """Take our worker's place in the sandbox, for as long as the descriptor is open.

    A worker knows whose jobs it lets in, and nothing of another worker's: one that keeps
    tenants apart (``alone``) shares a sandbox with nobody.
    """
    workers = f"{folder}/workers"
    os.makedirs(workers, 0o700, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    gate = os.open(f"{folder}/workers.gate", flags, 0o600)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)  # nobody holds it for longer than what follows takes
        own = f"{worker}.{'alone' if alone else 'shared'}"
        for name in os.listdir(workers):
            if name == own:
                continue
            other = os.open(f"{workers}/{name}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(f"{workers}/{name}")  # its worker is gone
            except BlockingIOError:
                if alone or name.endswith(".alone"):
                    raise Taken(f"another worker renders in it, and {'this' if alone else 'that'} one keeps tenants apart")
            finally:
                os.close(other)
        place = os.open(f"{workers}/{own}", flags, 0o600)
        fcntl.flock(place, fcntl.LOCK_SH)
        return place
    finally:
        os.close(gate)


class User:
    """A user that no other slot of this sandbox has, for as long as we live."""

    def __init__(self, folder: str, base: int) -> None:
        self.uid: int | None = None
        self.name = f"own-{os.getpid()}"
        if os.geteuid() != 0:
            return
        locks = f"{folder}/users"
        os.makedirs(locks, 0o700, exist_ok=True)
        for number in range(USERS):
            lock = os.open(f"{locks}/{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            self._lock = lock  # held until we end
            self.uid, self.name = base + number, f"user-{number}"
            return
        raise Unusable(f"more than {USERS} slots in one sandbox")

    def end_all(self) -> None:
        """Kill what runs as this user. The zygote is dead, so nothing starts anew."""
        if self.uid is None:
            return
        until = time.monotonic() + SETTLE_TIMEOUT_S
        while pids := list(self._processes()):
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if time.monotonic() > until:
                raise Unusable(f"processes of user {self.uid} do not die")
            time.sleep(0.01)

    def _processes(self) -> Iterator[int]:
        for name in os.listdir("/proc"):
            if name.isdecimal():
                try:
                    with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                        is_dead = file.read().rpartition(")")[2].split()[0] in "ZX"
                    if os.stat(f"/proc/{name}").st_uid == self.uid and not is_dead:
                        yield int(name)
                except OSError:
                    pass  # it has just ended


class Keeper:
    """One slot: its zygote, its waiting guard, and the door."""

    def __init__(self, folder: str, slot: str, uid_base: int, worker: str, alone: bool) -> None:
        self._frames = Frames()
        os.makedirs(folder, exist_ok=True)
        self._place = move_in(folder, worker, alone)
        self._state = f"{folder}/slots/{slot}"
        self._alive = f"{self._state}/alive"
        for path, mode in (
            (folder, 0o711),
            (f"{folder}/slots", 0o700),
            (self._state, 0o700),
            (f"{folder}/jobs", 0o700),
            (f"{folder}/tex", 0o700),
            (f"{folder}/areas", 0o711),
        ):
            os.makedirs(path, exist_ok=True)
            os.chmod(path, mode)
        with open(self._alive, "a", encoding="ascii"):
            pass
        os.utime(self._alive)
        self._remove_old(f"{folder}/jobs")
        self._user = User(folder, uid_base)
        self._user.end_all()
        self._area = f"{folder}/areas/{self._user.name}"
        shutil.rmtree(self._area, ignore_errors=True)  # its owner is gone: we hold the lock
        os.mkdir(self._area, 0o700)
        if self._user.uid is not None:
            os.chown(self._area, self._user.uid, self._user.uid)
        self._zygote = 0
        self._spare: tuple[int, int, socket.socket] | None = None

    @staticmethod
    def _remove_old(folder: str) -> None:
        for entry in os.scandir(folder):
            try:
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > JOB_AGE_MAX_S:
                    shutil.rmtree(entry.path, ignore_errors=True)
            except OSError:
                pass

    # ------------------------------------------------------------ the zygote

    def start(self) -> None:
        """Start the zygote and say so when it is warm."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        filters = {name: self._filter(name) for name in ("job", "tex", "outer")}
        job, tex = (_sealed(name, filters[name]) for name in ("job", "tex"))
        inherited = [theirs.fileno(), job, tex]
        # The environment may be reached through a link that the slot's user cannot follow.
        prefix = os.path.realpath(sys.prefix)
        python = f"{prefix}/bin/python3" if os.path.exists(f"{prefix}/bin/python3") else sys.executable
        command = [python, "-I", "-B", f"{_RENDERER}/main.py", *map(str, inherited), "", "container", self._area]
        with open(f"{_RENDERER}/system.json", encoding="utf-8") as file:
            system = json.load(file)  # of launch.rs, by way of bundle.rs
        command += [prefix, _RENDERER, *system["paths"]]
        keeper = os.getpid()
        self._zygote = os.fork()
        if self._zygote == 0:
            try:
                self._become(inherited, filters["outer"], keeper)
                os.execve(python, command, {**system["environment"], "TMPDIR": self._area})
            except BaseException as error:  # noqa: BLE001 - the last words of a child
                os.write(2, f"the renderer does not start: {error}\n".encode())
            finally:
                os._exit(70)
        theirs.close()
        os.close(job)
        os.close(tex)
        self._zygote_fd = os.pidfd_open(self._zygote)
        self._control.settimeout(READY_TIMEOUT_S)
        try:
            said = self._control.recv(MESSAGE_BYTES_MAX)
        except TimeoutError:
            raise Unusable(f"the renderer was not ready after {READY_TIMEOUT_S:.0f} s") from None
        self._control.settimeout(None)
        if not said:
            raise Unusable("the renderer ended before it was ready; its words are in this process's errors")
        ready: dict[str, Any] = json.loads(said)
        if ready["type"] != "ready":
            raise Unusable(str(ready.get("message")))
        if ready["landlock_abi"] == 0:
            raise Unusable("this kernel has no Landlock, or denies it")
        self._fork_spare()
        self._listen()
        self._frames.send({**ready, "uid": self._user.uid})

    @staticmethod
    def _filter(name: str) -> bytes:
        with open(f"{_RENDERER}/filters/{name}.b64", encoding="ascii") as file:
            return base64.b64decode(file.read())

    def _become(self, inherited: list[int], outer: bytes, keeper: int) -> None:
        """What must be true of the zygote before its program begins; as ``enter`` in ``bare.rs``."""
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if self._user.uid is not None:
            os.setgroups([])
            os.setresgid(self._user.uid, self._user.uid, self._user.uid)
            os.setresuid(self._user.uid, self._user.uid, self._user.uid)
        os.umask(0o077)
        linux.die_with(keeper)
        os.chdir("/")
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)  # our own output is for frames
        # Only what is meant: an open file of ours would be the job's, too.
        kept = sorted(inherited)
        for low, high in zip([2, *kept], [*kept, 1 << 16], strict=True):
            os.closerange(low + 1, high)
        for fd in inherited:
            os.set_inheritable(fd, True)
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.install_seccomp(outer)

    # ------------------------------------------------------------ the door

    def _listen(self) -> None:
        path = f"{self._state}/door"
        if os.path.lexists(path):
            os.unlink(path)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(path)
        os.chmod(path, 0o600)
        self._door.listen(4)

    def _fork_spare(self) -> None:
        """A guard that waits for the next job: the scene's file, its text output, its channel."""
        source = os.memfd_create("scene", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        readable = os.open(f"/proc/self/fd/{source}", os.O_RDONLY | os.O_CLOEXEC)
        log_read, log_write = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(self._control, [b"g"], [readable, log_write, theirs.fileno()])
        os.close(readable)
        os.close(log_write)
        theirs.close()
        self._spare = (source, log_read, ours)

    def serve(self) -> None:
        """Hand out guards until the worker is done with us."""
        heard, silent = 0, 0
        while True:
            ready, _, _ = select.select([self._door, self._zygote_fd], [], [], LOOK_EVERY_S)
            if self._zygote_fd in ready:
                raise Unusable("the renderer ended by itself")
            if self._door in ready:
                visitor, _ = self._door.accept()
                self._serve(visitor)
                silent = 0
                continue
            sign = os.stat(self._alive).st_mtime_ns
            heard, silent = sign, silent + 1 if sign == heard else 0
            if silent >= SILENT_LOOKS_MAX:
                raise Unusable("the worker gives no sign of life")

    def _serve(self, visitor: socket.socket) -> None:
        assert self._spare is not None
        source, log, channel = self._spare
        self._spare = None
        with visitor:
            try:
                socket.send_fds(visitor, [b"g"], [source, log, channel.fileno()])
            except OSError:
                pass  # it is gone again: so is its guard, below
            os.close(source)
            os.close(log)
            # It holds its end for as long as it lives, and says nothing.
            while True:
                ready, _, _ = select.select([visitor, self._zygote_fd], [], [])
                if self._zygote_fd in ready:
                    raise Unusable("the renderer ended during a job")
                try:
                    if not visitor.recv(64):
                        break
                except OSError:
                    break
        self._settle(channel)
        self._fork_spare()

    def _settle(self, channel: socket.socket) -> None:
        """Return when nothing of the last job is left, its guard included."""
        with channel:
            try:
                channel.shutdown(socket.SHUT_WR)  # for a guard whose visitor was killed
            except OSError:
                pass
            channel.settimeout(SETTLE_TIMEOUT_S)
            try:
                while message := channel.recvmsg(MESSAGE_BYTES_MAX, socket.CMSG_LEN(4 * 4)):
                    for level, kind, data in message[1]:
                        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                            fds = array.array("i")
                            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                            for fd in fds:
                                os.close(fd)
                    if not message[0]:
                        break
            except TimeoutError:
                raise Unusable("a job's guard does not end") from None
            except ConnectionResetError:
                pass
        for name in os.listdir(self._area):
            if name.startswith("job-"):
                shutil.rmtree(f"{self._area}/{name}", ignore_errors=True)

    # ------------------------------------------------------------ the end

    def end(self, why: str) -> None:
        """Kill the renderer, leave nothing, and say why."""
        if self._zygote:
            try:
                os.kill(self._zygote, signal.SIGKILL)
                os.waitpid(self._zygote, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        try:
            self._user.end_all()
        except Unusable as error:
            why = f"{why}; {error}"
        shutil.rmtree(self._area, ignore_errors=True)
        shutil.rmtree(self._state, ignore_errors=True)
        self._frames.send({"type": "unusable", "message": why[:2000]})


def _sealed(name: str, content: bytes) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _stopped(_number: int, _frame: object) -> None:
    raise Unusable("it was stopped")


def main(folder: str, slot: str, uid_base: str, worker: str, alone: str) -> None:
    """Keep one slot until told otherwise."""
    ctypes.CDLL(None)  # before there is anything to lose
    signal.signal(signal.SIGTERM, _stopped)
    try:
        hide()
        with contextlib.suppress(PermissionError):  # somebody else's, who then keeps it
            os.utime(_RENDERER)  # it is in use: what nobody has used for a week is removed
        keeper = Keeper(folder, slot, int(uid_base), worker, alone == "alone")
    except Taken as error:
        Frames().send({"type": "taken", "message": str(error)})
        sys.exit(1)
    except (Unusable, OSError) as error:
        Frames().send({"type": "unusable", "message": f"{type(error).__name__}: {error}"[:2000]})
        sys.exit(1)
    why = "it ended"
    try:
        keeper.start()
        keeper.serve()
    except Unusable as error:
        why = str(error)
    except OSError as error:
        why = f"{type(error).__name__}: {error}"
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        keeper.end(why)
    sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:6])
