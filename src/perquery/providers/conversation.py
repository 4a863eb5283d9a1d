"""One host's HTTP conversation, whatever its protocol: a request out, an answer's head back.

It owns the rotation of a host's keys and the reading of its refusals; a file per protocol says where to send,
which headers to write and how to read the answer. It must never retry what may be billed, never decide money, and
never let a key or a vendor's organisation into an error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from perquery.calls import Ask, Dialect, Reply
from perquery.errors import UpstreamError
from perquery.outbound import Client, OutboundError, Response
from perquery.providers.failures import answered, broke
from perquery.providers.hosts import Host

ERROR_BYTES_MAX: Final = 256 * 1024
BENCH_S: Final = 300.0  # a key that is dead or spent
BUSY_S: Final = 5.0  # a key that has asked too often, where the host names no time


class Conversation(ABC):
    """One host with its keys. `now` is a monotonic clock in seconds."""

    dialect: ClassVar[Dialect]

    def __init__(self, host: Host, keys: Sequence[str], client: Client, now: Callable[[], float]) -> None:
        self._host = host
        self._client = client
        self._now = now
        self._keys = list(keys) or [""]
        self._benched: dict[str, float] = {}

    @property
    def name(self) -> str:
        return self._host.name

    @property
    def cancel_stops_billing(self) -> bool:
        return self._host.cancel_stops_billing

    @abstractmethod
    def url(self, ask: Ask) -> str: ...

    @abstractmethod
    def headers(self, key: str, ask: Ask) -> dict[str, str]: ...

    @abstractmethod
    def _reply(self, response: Response, ask: Ask) -> Reply:
        """The answer behind the head of a 200."""

    async def send(self, ask: Ask) -> Reply:
        """Ask; returns at the head of a 200. Raises UpstreamError.

        A key that is dead, spent or out of turns is benched and the next one asked: the host has refused, so
        nothing was served and nothing is billed.
        """
        for left in range(len(self._keys) - 1, -1, -1):
            key = self._key()
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
                return self._reply(response, ask)
            error = await _refusal(response, key)
            if not self._bench(key, error) or not left:
                raise error
        raise AssertionError("there is always a key")

    def _key(self) -> str:
        """The next key in turn that is not benched; if all are, the one that is due first."""
        if not self._benched:
            self._keys.append(key := self._keys.pop(0))
            return key
        now = self._now()
        due = [self._benched.get(key, 0.0) for key in self._keys]
        place = next((place for place, until in enumerate(due) if until <= now), due.index(min(due)))
        self._keys.append(key := self._keys.pop(place))
        return key

    def _bench(self, key: str, error: UpstreamError) -> bool:
        """Whether it is the key's fault and another one may do. A single key is never benched: health is metering's."""
        if len(self._keys) == 1:
            return False
        if error.kind in ("auth", "funds"):
            pause_s = BENCH_S
        elif error.kind == "busy" and error.status == 429:
            pause_s = min(float(error.retry_after_s or BUSY_S), BENCH_S)
        else:
            return False
        self._benched[key] = self._now() + pause_s
        return True


async def _refusal(response: Response, key: str) -> UpstreamError:
    """What a status other than 200 means; its body, where it does not come whole, says nothing."""
    try:
        body = await response.read(ERROR_BYTES_MAX)
    except OutboundError:
        body = b""
    return answered(response.status, response.headers, body, key)
