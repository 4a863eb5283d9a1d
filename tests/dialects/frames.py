"""Server-sent events as their payloads."""

from __future__ import annotations

from typing import Any

import orjson


def payloads(written: bytes) -> list[dict[str, Any]]:
    """Each must say its type twice."""
    found = []
    for frame in written.split(b"\n\n"):
        if frame:
            name, data = frame.split(b"\n")
            found.append(orjson.loads(data.removeprefix(b"data: ")))
            assert name == b"event: " + found[-1]["type"].encode()
    return found
