"""A connection on which both sides write lines: what the Electrum protocol runs over. It must never look into one."""

from __future__ import annotations

from typing import Final

from perquery.outbound.inbox import Inbox
from perquery.outbound.target import Target, parse, refuse

LINE_BYTES_MAX: Final = 16 * 2**20  # a transaction in hexadecimal is at most 8 MB


def lines_target(url: str) -> Target:
    """Where an ssl://host:port or tcp://host:port leads. Raises OutboundError("refused")."""
    scheme, mark, rest = url.partition("://")
    if scheme not in ("ssl", "tcp") or not mark:
        raise refuse("the scheme must be ssl or tcp")
    return parse(("https" if scheme == "ssl" else "http") + mark + rest)


class Lines(Inbox[bytes]):
    """`send` a line without its end, `receive` the other side's."""

    def __init__(self) -> None:
        super().__init__()
        self._part = bytearray()

    def send(self, line: bytes) -> None:
        """Where the connection has ended, nothing happens: `receive` says so."""
        if self._error is None and self._transport is not None:
            self._sent = True
            self._transport.write(line + b"\n")

    def data_received(self, data: bytes) -> None:
        self._part += data
        if len(self._part) > LINE_BYTES_MAX + len(data):
            self._fail("protocol", f"a line longer than {LINE_BYTES_MAX} bytes")
        elif b"\n" in data:
            *whole, self._part = self._part.split(b"\n")
            for line in whole:
                self._deliver(bytes(line))

    def eof_received(self) -> None:
        self._end("broken", "the other side closed the connection")
