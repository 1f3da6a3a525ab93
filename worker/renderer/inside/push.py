"""Sends a result from inside somebody else's sandbox to its signed URL: ``python3 -I -S -B push.py REQUEST``.

REQUEST is a file, because a signed URL on a command line could be read by everybody in the
sandbox and in its process list. It is removed first. One frame says what came of it.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from frames import Frames, hide  # noqa: E402

SAID_BYTES_MAX = 2000


def push(request: dict[str, Any]) -> dict[str, Any]:
    """Send the file; the store's answer."""
    url = urlsplit(request["url"])
    timeout = min(float(request["timeout_s"]), 60.0)
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        context = ssl.create_default_context()
        if request["ca"]:
            context.load_verify_locations(cadata=request["ca"])
        connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=timeout, context=context)
    elif url.scheme == "http":
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout)
    else:
        return {"type": "unreachable", "message": "the URL is neither http nor https"}
    headers = {**request["headers"], "Content-Length": str(os.path.getsize(request["path"]))}
    try:
        connection.connect()
    except OSError as error:
        return {"type": "unreachable", "message": f"{type(error).__name__}: {error}"[:300]}
    with open(request["path"], "rb") as file:
        connection.request("PUT", f"{url.path}?{url.query}" if url.query else url.path, file, headers)
        answer = connection.getresponse()
        said = answer.read(SAID_BYTES_MAX).decode(errors="replace")
    return {"type": "answered", "status": answer.status, "said": said}


def main(path: str) -> None:
    """Read the request, forget it, send."""
    frames = Frames()
    try:
        hide()  # the URL is a credential
        with open(path, encoding="utf-8") as file:
            request = json.load(file)
        os.unlink(path)
        frames.send(push(request))
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        # Without its words: they may hold the URL.
        frames.send({"type": "broken", "message": type(error).__name__})


if __name__ == "__main__":
    main(sys.argv[1])
