# What stands before every attack: helpers, and what the test knows of this machine.
# An attempt must raise OSError; whatever does not is a breach, and named. A call that the kernel looked at before
# it refused (EFAULT, EINVAL, EBADF) was not held by a wall.
import ctypes
import errno
import json
import os
import sys

import manim
import manimq_renderer
from manim import *

RENDERER = os.path.dirname(manimq_renderer.__file__)
libc = ctypes.CDLL(None, use_errno=True)
breaches = []


def attempt(name, function, *arguments, **more):
    try:
        result = function(*arguments, **more)
    except OSError:
        return
    breaches.append(f"{name} -> {str(result)[:100]}")


def call_now(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


WALLS = {errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT}


def call(name, number, *arguments, walls=WALLS):
    """A system call must be refused by a wall."""
    try:
        result = call_now(name, number, *arguments)
    except OSError as error:
        if error.errno not in walls:
            breaches.append(f"{name} reached the kernel: {errno.errorcode.get(error.errno, error.errno)}")
    else:
        breaches.append(f"{name} -> {result}")


def read(path):
    with open(path, "rb") as file:
        return file.read(100)


def write(path):
    with open(path, "wb") as file:
        file.write(b"x")
    os.unlink(path)


def pretend(**more):
    """Tells the guard that the render is done, and ends."""
    told = {"e": "done", "prepare_s": 0, "render_s": 0, "encode_s": 0, "frames": 9, "animations": 1, **more}
    os.write(3, json.dumps(told).encode() + b"\n")
    os._exit(0)


def parts(tex, **more):
    return len(Tex(tex, **more).family_members_with_points())


def looks_like(tex, like, **more):
    """The picture must have as many parts: TeX prints what it reads."""
    if parts(tex, **more) != parts(like, **more):
        breaches.append(f"{tex}: {parts(tex, **more)} parts")


def refused(tex, **more):
    try:
        Tex(tex, **more)
    except ValueError:
        return
    breaches.append(f"set: {tex}")
