"""One job inside somebody else's sandbox: ``python3 -I -S -B job.py DOOR FOLDER``.

Started by the worker through the sandbox's process API, once per attempt. It takes the waiting
guard from the keeper, gives it the scene, and passes on what the guard says as frames on
standard output. SIGTERM ends the job. Trusted: it never runs and never parses what a tenant sent.
"""

from __future__ import annotations

import array
import binascii
import errno
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import Frames, hide  # noqa: E402

MESSAGE_BYTES_MAX = 128 * 1024
"""``protocol.py``."""
DOOR_TIMEOUT_S = 20.0
"""The keeper may still be tidying up after the last job."""
LAST_TEXT_S = 1.0
LOOK_EVERY_S = 0.5
"""How often the disk is looked at while a scene is drawn."""
LOG_KEPT_BYTES = 1100 * 1024
"""A little more than the worker keeps, so that it is who cuts."""
LOG_PIECE_BYTES = 32 * 1024
TEX_TENANT_BYTES = 4 * 1024 * 1024
TEX_PICTURE_BYTES = 64 * 1024
TEX_TENANTS_BYTES = 64 * 1024 * 1024


class Tex:
    """Pictures of formulas that were set for the same tenant before."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        if folder is not None:
            os.makedirs(folder, 0o700, exist_ok=True)
            os.utime(folder)

    def get(self, key: str) -> str | None:
        """The picture, if there is one."""
        if self._folder is None or not _is_key(key):
            return None
        try:
            with open(f"{self._folder}/{key}", encoding="utf-8") as file:
                return file.read(TEX_PICTURE_BYTES + 1)
        except (OSError, UnicodeDecodeError):
            return None

    def put(self, key: str, picture: str) -> None:
        """Keep a picture. One that does not fit is set again the next time."""
        data = picture.encode(errors="replace")
        if self._folder is None or not _is_key(key) or len(data) > TEX_PICTURE_BYTES:
            return
        try:
            with open(f"{self._folder}/.{key}-{os.getpid()}", "wb") as file:
                file.write(data)
            os.rename(file.name, f"{self._folder}/{key}")
        except OSError:
            pass  # a full disk: it is only a cache

    def trim(self) -> None:
        """Drop what is oldest where there is too much; whole tenants first, then ours."""
        if self._folder is None:
            return
        tenants = []
        for entry in os.scandir(os.path.dirname(self._folder)):
            files = [file.stat() for file in os.scandir(entry.path)]
            tenants.append((entry.stat().st_mtime, entry.path, sum(file.st_size for file in files)))
        total = sum(size for _, _, size in tenants)
        for _, path, size in sorted(tenants):
            if total > TEX_TENANTS_BYTES and path != self._folder:
                total -= size
                _empty(path)
        own = sorted((file.stat().st_mtime, file.path, file.stat().st_size) for file in os.scandir(self._folder))
        total = sum(size for _, _, size in own)
        for _, path, size in own:
            if total > TEX_TENANT_BYTES:
                total -= size
                os.unlink(path)


def _oom_kills() -> int:
    """How many processes the kernel has killed so far for want of memory; it alone can write that."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            return oom_kills_in(file.read())
    except OSError:
        return 0


def oom_kills_in(vmstat: str) -> int:
    """The same from its text; 0 from a kernel that does not count them."""
    counts = (line.split() for line in vmstat.splitlines())
    return next((int(count[1]) for count in counts if len(count) == 2 and count[0] == "oom_kill"), 0)


def _free(folder: str) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _is_key(key: str) -> bool:
    return len(key) == 64 and all(letter in "0123456789abcdef" for letter in key)


def _empty(folder: str) -> None:
    for entry in os.scandir(folder):
        os.unlink(entry.path)


class Job:
    """One job, between the guard and the worker."""

    def __init__(self, door: str, folder: str) -> None:
        self._frames = Frames()
        self._folder = folder
        with open(f"{folder}/job.json", encoding="utf-8") as file:
            self._asked: dict[str, Any] = json.load(file)
        self._disk_free = self._disk_least = _free(folder)
        if self._disk_free < self._asked["disk_min_bytes"]:
            raise OSError(errno.ENOSPC, f"the disk has {self._disk_free // 2**20} MiB left")
        self._oom_kills = _oom_kills()
        self._tex = Tex(self._asked["tex"])
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.settimeout(DOOR_TIMEOUT_S)
        self._door.connect(door)
        _, fds, _, _ = socket.recv_fds(self._door, 1, 3)
        if len(fds) != 3:
            raise OSError("the keeper has no guard for us")
        self._source, self._log, channel = fds
        self._channel = socket.socket(fileno=channel)
        self._log_bytes = 0
        self._artifacts = 0
        self._outcome = False
        self._ending: str | None = None

    def run(self) -> None:
        """Drive the job until nothing more can be said of it."""
        self._fill()
        self._channel.send(json.dumps(self._asked["spec"]).encode())
        signal.signal(signal.SIGTERM, self._on_stop)
        # Now, while the scene is drawn: nobody waits for it.
        import hashlib  # noqa: F401
        log_open, channel_open = True, True
        until: float | None = None
        # After the outcome the job is dead: what is left is the rest of its words. Who is being
        # ended is waited for until its guard is gone.
        while log_open or (channel_open and (not self._outcome or self._ending)):
            fds = [self._channel] * channel_open + [self._log] * log_open
            wait = LOOK_EVERY_S if until is None else max(until - time.monotonic(), 0)
            ready, _, _ = select.select(fds, [], [], wait)
            self._look()
            if not ready and until is not None:
                break
            if self._log in ready:
                log_open = self._on_log()
            if self._channel in ready:
                channel_open = self._on_guard()
            if self._outcome and not self._ending and until is None:
                until = time.monotonic() + LAST_TEXT_S
            if not channel_open and until is None:
                until = time.monotonic() + LAST_TEXT_S
        try:
            self._tex.trim()
        except OSError:
            pass
        self._look()
        self._frames.send(
            {
                "type": "end",
                "ending": self._ending,
                "disk_free_bytes": self._disk_free,
                "disk_least_bytes": self._disk_least,
                "oom_kills": _oom_kills() - self._oom_kills,
            }
        )

    def _look(self) -> None:
        """How full the disk is: one that is full fails scenes for what is not their fault."""
        self._disk_free = _free(self._folder)
        self._disk_least = min(self._disk_least, self._disk_free)

    def _fill(self) -> None:
        """The files that come with the scene, then the scene, in the file that the guard waits with."""
        for name in self._asked["parts"]:
            with open(f"{self._folder}/{name}", "rb") as part:
                while chunk := part.read(1024 * 1024):
                    view = memoryview(chunk)
                    while view:
                        view = view[os.write(self._source, view) :]
            os.unlink(f"{self._folder}/{name}")
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(self._source, fcntl.F_ADD_SEALS, seals)
        os.close(self._source)

    def _on_stop(self, _number: int, _frame: object) -> None:
        self._end("stopped")

    def _end(self, why: str) -> None:
        """Have the guard kill the job, once."""
        if self._ending is None and not self._outcome:
            self._ending = why
            try:
                self._channel.send(b'{"type":"cancel"}')
            except OSError:
                pass  # it has just ended

    def _on_log(self) -> bool:
        data = os.read(self._log, LOG_PIECE_BYTES)
        if not data:
            return False
        room = LOG_KEPT_BYTES - self._log_bytes
        self._log_bytes += len(data)
        if room > 0:
            self._frames.send({"type": "text", "bytes": binascii.b2a_base64(data[:room], newline=False).decode()})
        if self._log_bytes > self._asked["log_bytes"]:
            self._end("log_limit")
        return True

    def _on_guard(self) -> bool:
        try:
            message, ancillary, _, _ = self._channel.recvmsg(MESSAGE_BYTES_MAX, socket.CMSG_LEN(4 * 4))
        except ConnectionResetError:
            return False
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        try:
            if not message:
                return False
            self._take(json.loads(message), list(fds))
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _take(self, said: dict[str, Any], fds: list[int]) -> None:
        kind = said["type"]
        if kind == "formula_wanted":
            answer = {"type": "formula", "key": said["key"], "svg": self._tex.get(said["key"])}
            try:
                self._channel.send(json.dumps(answer, ensure_ascii=False).encode(errors="replace"))
            except OSError:
                pass
            return
        if kind == "formula_made":
            self._tex.put(said["key"], said["svg"])
            return
        if kind == "artifact":
            said = {**said, **self._copy(fds[0])}
        elif kind in ("done", "failed", "interrupted"):
            self._outcome = True
            # Measured before the job's files were removed.
            self._disk_least = min(self._disk_least, said.pop("disk_free_bytes", self._disk_least))
        self._frames.send(said)

    def _copy(self, fd: int) -> dict[str, Any]:
        """Take a result out of the dead job's folder, which goes with its guard."""
        path = f"{self._folder}/result-{self._artifacts}"
        self._artifacts += 1
        import hashlib

        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        size = 0
        try:
            with open(path, "wb") as to:
                while chunk := os.pread(fd, 1024 * 1024, size):
                    to.write(chunk)
                    sha256.update(chunk)
                    md5.update(chunk)
                    size += len(chunk)
        except OSError as error:
            return {"trouble": f"cannot copy a result: {error.strerror}"}
        return {"path": path, "copied": size, "sha256": sha256.hexdigest(), "md5": md5.hexdigest()}


def main(door: str, folder: str) -> None:
    """Run one job; whatever goes wrong here is nobody's but ours."""
    try:
        hide()
        Job(door, folder).run()
    except (OSError, ValueError, KeyError) as error:
        Frames().send({"type": "trouble", "message": f"{type(error).__name__}: {error}"[:2000]})
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:3])
