"""The smallest local model: it says its process's id, fails where a file of that name tells it to, and dies when told.

Run as a program by `child`; the file's path comes in the environment.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from perquery.providers.child import LocalModelError, serve
from perquery.providers.local_server import Answer, opened

FAILS = "SMALL_MODEL_FAILS"


def _say(body: bytes, _content_type: str) -> Answer:
    if body == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()  # the other threads may be hit before this one
    return Answer("text/plain", str(os.getpid()).encode())


def _opened(listening: socket.socket, key: str) -> Any:
    file = Path(os.environ.get(FAILS, "/nowhere"))
    match file.read_text() if file.exists() else "":
        case "error":
            raise LocalModelError("its weights are gone")
        case "exit":
            os._exit(3)
    return opened(listening, key, {"/v1/say": _say})


if __name__ == "__main__":
    sys.exit(serve(_opened))
