"""Process and file calls of the vendor's SDK, for ``sdk.rs``: CONTROL_URL NAME FOLDER."""

import asyncio
import os
import sys

from blaxel.core.client import client
from blaxel.core.sandbox import SandboxInstance


async def main(control: str, name: str, folder: str) -> None:
    client.with_base_url(control)
    sandbox = await SandboxInstance.get(name)
    assert sandbox.metadata.name == name, sandbox.metadata
    found = await SandboxInstance.list(limit=10)
    assert len(list(getattr(found, "data", found))) == 1, found

    ran = await sandbox.process.exec(
        {"command": "echo out; echo err >&2; exit 3", "name": "one", "wait_for_completion": True}
    )
    assert (ran.status, ran.exit_code, ran.stdout, ran.stderr) == ("failed", 3, "out\n", "err\n"), ran
    long = await sandbox.process.exec({"command": "sleep 30", "name": "two", "keep_alive": True, "timeout": 60})
    assert long.status == "running", long
    assert (await sandbox.process.get("two")).status == "running"
    assert {process.name for process in await sandbox.process.list()} >= {"one", "two"}
    await sandbox.process.kill("two")
    ended = await sandbox.process.wait("two", max_wait=20000, interval=200)
    assert ended.status == "killed", ended
    quick = await sandbox.process.exec({"command": "sleep 0.3", "name": "three"})
    await sandbox.process.stop(quick.name)
    assert "out" in await sandbox.process.logs("one")
    try:
        await sandbox.process.get("nobody")
        raise AssertionError("there is no such process")
    except Exception as error:
        assert "not found" in str(error), error

    await sandbox.fs.mkdir(f"{folder}/d")
    await sandbox.fs.write(f"{folder}/d/a.py", "print('ä <&>')")
    assert await sandbox.fs.read(f"{folder}/d/a.py") == "print('ä <&>')"
    small, large = os.urandom(1000), os.urandom(11 * 1024 * 1024)
    await sandbox.fs.write_binary(f"{folder}/small", small)
    assert bytes(await sandbox.fs.read_binary(f"{folder}/small")) == small
    await sandbox.fs.write_binary(f"{folder}/large", large)
    assert bytes(await sandbox.fs.read_binary(f"{folder}/large")) == large
    listed = await sandbox.fs.ls(folder)
    assert {file.name for file in listed.files} == {"small", "large"}, listed
    await sandbox.fs.rm(f"{folder}/d", recursive=True)
    assert [entry.name for entry in (await sandbox.fs.ls(folder)).subdirectories] == []
    print("all is as expected")


asyncio.run(main(*sys.argv[1:4]))
