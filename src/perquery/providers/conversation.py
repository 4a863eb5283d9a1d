"""One host's HTTP conversation, whatever its protocol: a request out, an answer's head back.

It owns the attempts with a host's keys and the reading of its refusals; a file per protocol says where to send,
which headers to write and how to read the answer. It must never retry what may be billed, never decide money, and
never let a key or a vendor's organisation into an error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from perquery.calls import Ask, Dialect, Reply
from perquery.errors import UpstreamError
from perquery.outbound import Client, OutboundError, Response
from perquery.providers.failures import answered, broke
from perquery.providers.hosts import Host
from perquery.providers.keys import Keys
from perquery.providers.replies import request_id_in

ERROR_BYTES_MAX: Final = 256 * 1024


class Conversation(ABC):
    """One host in one dialect. Its keys are the host's, whatever dialects it speaks besides."""

    dialect: ClassVar[Dialect]

    def __init__(self, host: Host, keys: Keys, client: Client) -> None:
        self._host = host
        self._keys = keys
        self._client = client

    @abstractmethod
    def url(self, ask: Ask) -> str: ...

    @abstractmethod
    def headers(self, key: str, ask: Ask) -> dict[str, str]: ...

    @abstractmethod
    def _reply(self, response: Response, ask: Ask) -> Reply:
        """The answer behind the head of a 200."""

    async def send(self, ask: Ask) -> Reply:
        """Ask; returns at the head of a 200. Raises UpstreamError."""
        return self._reply(await self._asked(ask), ask)

    async def _asked(self, ask: Ask) -> Response:
        """The head of a 200. Raises UpstreamError.

        A key that is dead, spent or out of turns is benched and the next one asked: the host has refused, so
        nothing was served and nothing is billed.
        """
        for left in range(len(self._keys) - 1, -1, -1):
            key = self._keys.next()
            try:
                response = await self._client.request(
                    "POST",
                    self.url(ask),
                    headers=self.headers(key, ask),
                    body=ask.body,
                    timeout_s=ask.timeout_s,
                    idle_timeout_s=ask.idle_timeout_s,
                    keep=not (ask.stream and self._host.closes_after_stream),
                )
            except OutboundError as failure:
                raise broke(failure) from failure
            if response.status == 200:
                return response
            error = await _refusal(response, key)
            if not self._keys.bench(key, error) or not left:
                raise error
        raise AssertionError("there is always a key")


async def _refusal(response: Response, key: str) -> UpstreamError:
    """What a status other than 200 means; its body, where it does not come whole, says nothing."""
    try:
        body = await response.read(ERROR_BYTES_MAX)
    except OutboundError:
        body = b""
    error = answered(response.status, response.headers, body, key)
    error.request_id = request_id_in(response.headers)
    return error
