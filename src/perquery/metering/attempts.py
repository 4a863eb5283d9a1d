"""From a list of routes to the first events of one answer: failover, retries, one budget of attempts a request.

Nothing has reached the caller yet, so another upstream may still be asked. Retried are only what was surely not
sent, 429 and 5xx; every failed attempt costs the house and stands in the receipt.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from perquery.calls import Ask, Event, Reply, Route, Upstream
from perquery.errors import BadRequest, PerQueryError, TooLarge, Unprocessable, UpstreamError, UpstreamUnavailable
from perquery.metering.health import Health

ATTEMPTS_MAX: Final = 4
PAUSE_S: Final = (0.1, 0.4, 1.0)
_PASSED_ON: Final = {400: BadRequest, 413: TooLarge, 422: Unprocessable}
MakeAsk = Callable[[Route], Ask]


@dataclass(slots=True)
class Answer:
    """An answer that has begun: the route that gave it, its first events, the rest to come. native: as in Ask."""

    route: Route
    upstream: Upstream
    reply: Reply
    first: list[Event]
    rest: AsyncIterator[list[Event]]
    native: bool


@dataclass(slots=True)
class Attempts:
    """One request's attempts. `log` is for the receipt: provider, model, what went wrong."""

    upstreams: Mapping[str, Upstream]
    health: Health
    log: list[dict[str, Any]] = field(default_factory=list)

    async def begin(self, routes: Sequence[Route], make_ask: MakeAsk, wanted: Callable[[], bool]) -> Answer:
        """The first answer that begins. Raises what the caller is told where none does.

        wanted: whether somebody still waits for it; nobody is asked on behalf of a caller who has gone.
        """
        last: UpstreamError | None = None
        ordered = self.health.ordered(routes)
        for number in range(ATTEMPTS_MAX if ordered else 0):
            route = ordered[number % len(ordered)]
            if number >= len(routes):
                await asyncio.sleep(_pause_s(number - len(routes)))
            if not wanted():
                break
            try:
                return await self._attempt(route, make_ask(route))
            except UpstreamError as error:
                self.note(route, error)
                last = error
                if error.kind == "refused":
                    raise refused(error) from error
                if not _may_go_on(error, number + 1 - len(routes)):
                    break
        raise unavailable(last)

    async def _attempt(self, route: Route, ask: Ask) -> Answer:
        upstream = self.upstreams[route.provider]
        reply = await upstream.send(ask)
        rest = aiter(reply)
        try:
            first = await anext(rest, None)
        except BaseException:
            await reply.close()
            raise
        if not first:
            raise UpstreamError("garbage", "the answer ended before its first event")
        if first[0].error is not None:
            await reply.close()
            raise first[0].error
        self.health.succeeded(route)
        return Answer(route, upstream, reply, first, rest, ask.native)

    def note(self, route: Route, error: UpstreamError) -> None:
        """Put a failure on the receipt and the upstream on the bench."""
        self.health.failed(route, error)
        entry = {"provider": route.provider, "model": route.model, "error": error.kind, "status": error.status}
        self.log.append(entry)


def _pause_s(round: int) -> float:
    return PAUSE_S[min(round, len(PAUSE_S) - 1)]


def _may_go_on(error: UpstreamError, round: int) -> bool:
    """Whether a next attempt may follow this failure. round: below 0, the next route is one not tried yet."""
    return _may_fail_over(error) if round < 0 else _may_retry(error, _pause_s(round))


def _may_retry(error: UpstreamError, pause_s: float) -> bool:
    """Whether the same upstream may be asked again after the pause: not sent, 429, 5xx, unless it asks for longer.

    What broke off without a status may have been served, and billed.
    """
    if error.retry_after_s is not None and error.retry_after_s > pause_s:
        return False
    return not error.sent or error.kind == "busy" or (error.kind == "down" and error.status is not None)


def _may_fail_over(error: UpstreamError) -> bool:
    """Whether another upstream may be asked: not where this one may still be working on it, and bill it."""
    return not (error.sent and error.kind == "timeout")


def refused(error: UpstreamError) -> PerQueryError:
    """The upstream's 400, 413 or 422 is the caller's own request: its text passes on."""
    kind = _PASSED_ON.get(error.status or 400, BadRequest)
    return kind(error.message, code=error.code, param=error.param)


def unavailable(error: UpstreamError | None) -> UpstreamUnavailable:
    """The house's troubles are not the caller's: one text for all of them, and when to come back."""
    wait_s = max(1, min(error.retry_after_s or 5, 60)) if error else 5
    return UpstreamUnavailable(
        "No upstream for this model can answer right now; you were not charged."
        " Try again shortly or use another model.",
        headers={"retry-after": str(wait_s)},
    )
