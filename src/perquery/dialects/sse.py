"""Server-sent events, incrementally: bytes in as they come, whole events out. Pure.

An event ends at a blank line; lines end with CRLF, LF or CR; comment lines (a colon first) are skipped; several
`data:` lines are joined with a newline (WHATWG, HTML living standard, section 9.2). A piece from the network may
split anywhere, also inside a UTF-8 character. It must never hold more than one unfinished event.
"""

from __future__ import annotations

import re
from typing import Final

EVENT_BYTES_MAX: Final = 16 * 2**20
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class TooLong(ValueError):
    """An event that never ends."""


class Parser:
    """`feed` answers the data of every event that is complete, in order; unfinished ones wait for more."""

    __slots__ = ("_began", "_left")

    def __init__(self) -> None:
        self._left = b""
        self._began = False

    def feed(self, piece: bytes) -> list[bytes]:
        buffer = self._left + piece if self._left else piece
        if not self._began:
            if len(buffer) < 3 and b"\xef\xbb\xbf".startswith(buffer):
                self._left = buffer
                return []
            self._began = True
            buffer = buffer.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in buffer:
            # A CR at the very end may be the first half of a CRLF: it waits for what follows.
            tail = b"\r" if buffer.endswith(b"\r") else b""
            buffer = _LINE_END.sub(b"\n", buffer[: len(buffer) - len(tail)]) + tail
        blocks = buffer.split(b"\n\n")
        self._left = blocks.pop()
        if len(self._left) > EVENT_BYTES_MAX:
            raise TooLong(f"an event of more than {EVENT_BYTES_MAX} bytes")
        return [data for block in blocks if (data := _data(block)) is not None]


def _data(block: bytes) -> bytes | None:
    """The data of one event's lines; None where it has none (a comment, an empty event)."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = []
    for line in block.split(b"\n"):
        name, colon, value = line.partition(b":")
        if name == b"data":
            lines.append(value[1:] if colon and value.startswith(b" ") else value)
    return b"\n".join(lines) if lines else None
