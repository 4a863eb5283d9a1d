"""What can go wrong on the way out, in one exception.

It says which kind of failure, and whether the request may have reached the other side: that decides retries and
who pays. Its message must never hold a header, a body, a query string or a credential.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["connect", "timeout", "idle", "broken", "protocol", "refused"]


class OutboundError(Exception):
    """A request that brought no whole answer.

    kind: connect (no connection, TLS or proxy said no), timeout (the total time is over), idle (the answer
    stalled), broken (the connection ended early, or was aborted), protocol (not HTTP, or larger than allowed),
    refused (the guard, or a request that cannot be written as HTTP; nothing was attempted).
    sent: False only if certainly no byte of the request left this process.
    """

    def __init__(self, kind: Kind, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.sent = sent
