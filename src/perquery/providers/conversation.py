"""One host's conversation in chat, whatever its protocol: a file per protocol says where to send, which headers to
write and how to read the answer. It must never decide money.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from functools import partial
from typing import ClassVar

from perquery.calls import Ask, Dialect, Reply
from perquery.dialects.customs import Restored
from perquery.outbound import Client, Response
from perquery.providers.hosts import Host
from perquery.providers.keys import Keys
from perquery.providers.line import Line
from perquery.providers.replies import Mended


class Conversation(ABC):
    """One host in one dialect. Its keys are the host's, whatever dialects it speaks besides."""

    dialect: ClassVar[Dialect]

    def __init__(self, host: Host, keys: Keys, client: Client) -> None:
        self._host = host
        self._line = Line(keys, client)

    @abstractmethod
    def url(self, ask: Ask) -> str: ...

    @abstractmethod
    def headers(self, key: str, ask: Ask) -> dict[str, str]: ...

    @abstractmethod
    def _reply(self, response: Response, ask: Ask) -> Reply:
        """The answer behind the head of a 200."""

    async def send(self, ask: Ask) -> Reply:
        """Ask; returns at the head of a 200. Raises UpstreamError."""
        reply = self._reply(await self._asked(ask), ask)
        return Mended(reply, Restored(ask.customs).event) if ask.customs and not ask.native else reply

    def _asked(self, ask: Ask) -> Awaitable[Response]:
        """The head of a 200. Raises UpstreamError."""
        return self._line.ask(
            "POST",
            self.url(ask),
            partial(self.headers, ask=ask),
            ask.body,
            timeout_s=ask.timeout_s,
            idle_timeout_s=ask.idle_timeout_s,
            keep=not (ask.stream and self._host.closes_after_stream),
        )
