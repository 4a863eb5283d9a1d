"""One host's line: its keys in turn, a request out, an answer's head back, a refusal read.

Whatever is spoken over it is a file of its own: a `Conversation` for chat, a `Trade` for other work. It must never
retry what may be billed, never decide money, and never let a key or a vendor's organisation into an error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from perquery.errors import UpstreamError
from perquery.outbound import Client, OutboundError, Response
from perquery.providers.failures import answered, broke
from perquery.providers.keys import Keys
from perquery.providers.replies import request_id_in

ERROR_BYTES_MAX: Final = 256 * 1024
FETCH_S: Final = 60.0


class Line:
    """keys: the host's, shared by all that it speaks."""

    def __init__(self, keys: Keys, client: Client) -> None:
        self._keys = keys
        self._client = client

    async def ask(
        self,
        method: str,
        url: str,
        headers: Callable[[str], Mapping[str, str]],
        body: bytes | Sequence[bytes] = b"",
        *,
        timeout_s: float,
        idle_timeout_s: float,
        keep: bool = True,
        served: Collection[int] = (200,),
    ) -> Response:
        """The head of an answer with one of the statuses `served`. headers: of a request with that key.

        A key that is dead, spent or out of turns is benched and the next one asked: the host has refused, so
        nothing was served and nothing is billed. Raises UpstreamError.
        """
        for left in range(len(self._keys) - 1, -1, -1):
            key = self._keys.next()
            try:
                response = await self._client.request(
                    method,
                    url,
                    headers=headers(key),
                    body=body,
                    timeout_s=timeout_s,
                    idle_timeout_s=idle_timeout_s,
                    keep=keep,
                )
            except OutboundError as failure:
                raise broke(failure) from failure
            if response.status in served:
                return response
            error = await _refusal(response, key)
            if not self._keys.bench(key, error) or not left:
                raise error
        raise AssertionError("there is always a key")

    @property
    def key(self) -> str:
        """The key of a pinned line."""
        return self._keys.first

    def of(self, print: str) -> Line:
        """The line pinned to the key of that print (`keys.printed`), as far as it is still known."""
        return Line(self._keys.of(print), self._client)

    async def fetch(self, url: str, bytes_max: int, *, guard: bool) -> bytes:
        """A file that an answer names, without a key. guard: only public addresses. Raises UpstreamError."""
        try:
            async with await self._client.request(
                "GET", url, headers={}, timeout_s=FETCH_S, idle_timeout_s=FETCH_S, guard=guard
            ) as response:
                if response.status != 200:
                    raise UpstreamError("down", f"the file answers {response.status}", status=response.status)
                return await response.read(bytes_max)
        except OutboundError as failure:
            raise broke(failure) from failure

    def pinned(self) -> Line:
        """The line with one key, the next in turn: for several requests about the same thing, which one account has."""
        return Line(self._keys.one(), self._client)


async def _refusal(response: Response, key: str) -> UpstreamError:
    """What another status means; its body, where it does not come whole, says nothing."""
    try:
        body = await response.read(ERROR_BYTES_MAX)
    except OutboundError:
        body = b""
    error = answered(response.status, response.headers, body, key)
    error.request_id = request_id_in(response)
    return error
