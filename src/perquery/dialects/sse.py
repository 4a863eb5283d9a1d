"""Server-sent events, incrementally: bytes in as they come, whole events out. Pure.

An event ends at a blank line; lines end with CRLF, LF or CR; comment lines (a colon first) are skipped; several
`data:` lines are joined with a newline (WHATWG, HTML living standard, section 9.2). A piece from the network may
split anywhere, also inside a UTF-8 character or a CRLF. It must never hold more than one unfinished event, nor
read one twice because it comes in many pieces.
"""

from __future__ import annotations

from typing import Final

EVENT_BYTES_MAX: Final = 16 * 2**20
_BOM: Final = b"\xef\xbb\xbf"


class TooLong(ValueError):
    """An event that never ends."""


class Parser:
    """`feed` answers the data of every event that is complete, in order; unfinished ones wait for more."""

    __slots__ = ("_after_cr", "_began", "_held", "_left")

    def __init__(self) -> None:
        self._left: list[bytes] = []  # the pieces of the unfinished event, none of them empty
        self._held = 0
        self._began = False
        self._after_cr = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Raises TooLong where an unfinished event has more than EVENT_BYTES_MAX bytes."""
        if not self._began:
            piece = self._begin(piece)
        if self._after_cr or piece.find(b"\r") >= 0:  # `in` takes bytes for a number first, which is dear
            piece = self._newlines(piece)
        if not piece:
            return []
        left = self._left
        if left:
            if piece.find(b"\n\n") < 0 and not (piece[0] == 10 and left[-1][-1] == 10):
                self._hold(piece)
                return []
            left.append(piece)
            piece = b"".join(left)
            left.clear()
            self._held = 0
        blocks = piece.split(b"\n\n")
        if rest := blocks.pop():
            self._hold(rest)
        return [data for block in blocks if (data := _data(block)) is not None]

    def end(self) -> list[bytes]:
        """The data of an event that the end of the stream cut short of its blank line.

        The standard drops it; some hosts write their last event so, and it has the figures.
        """
        return self.feed(b"\n\n")

    def _hold(self, piece: bytes) -> None:
        self._left.append(piece)
        self._held += len(piece)
        if self._held > EVENT_BYTES_MAX:
            raise TooLong(f"an event of more than {EVENT_BYTES_MAX} bytes")

    def _begin(self, piece: bytes) -> bytes:
        """The first bytes without the byte order mark; empty while they may still become one."""
        piece = b"".join(self._left) + piece
        self._left.clear()
        if len(piece) < len(_BOM) and _BOM.startswith(piece):
            self._left = [piece] if piece else []
            return b""
        self._began = True
        return piece.removeprefix(_BOM)

    def _newlines(self, piece: bytes) -> bytes:
        """The piece with LF for every line end; the LF of a CRLF that was split is dropped."""
        if self._after_cr and piece:
            piece = piece[1:] if piece[0] == 10 else piece
            self._after_cr = False
        if piece:
            self._after_cr = piece[-1] == 13
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data(block: bytes) -> bytes | None:
    """The data of one event's lines; None where it has none (a comment, an empty event)."""
    if block.startswith(b"data: ") and block.find(b"\n") < 0:
        return block[6:]
    lines = []
    for line in block.split(b"\n"):
        name, colon, value = line.partition(b":")
        if name == b"data":
            lines.append(value[1:] if colon and value.startswith(b" ") else value)
    return b"\n".join(lines) if lines else None
