"""From a list of routes to the first events of one answer: failover, retries, one budget of attempts a request.

Nothing has reached the caller yet, so another upstream may still be asked. Retried are only what was surely not
sent, 429 and 5xx; every failed attempt costs the house and stands in the receipt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from perquery.calls import Ask, Event, Reply, Route, Upstream
from perquery.errors import BadRequest, PerQueryError, TooLarge, Unprocessable, UpstreamError, UpstreamUnavailable
from perquery.metering.health import HOUSE_TROUBLES, Health

ATTEMPTS_MAX: Final = 4
REQUEST_ID_MAX: Final = 200
PAUSE_S: Final = (0.1, 0.4, 1.0)
AT_ONCE_S: Final = 0.0
RETRY_S: Final = 5  # what a caller is told where no upstream names a time
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
    asked_s: float  # when, by the clock of `Health`


@dataclass(slots=True)
class Attempts:
    """One request's attempts. `log` is for the receipt: provider, model, what went wrong.

    once: nobody is asked again after an upstream that may have done it, whatever it said. unknown: whether one may have
    done it and bill it, though no answer came.
    """

    upstreams: Mapping[str, Upstream]
    health: Health
    once: bool = False
    unknown: bool = False
    log: list[dict[str, Any]] = field(default_factory=list)

    async def begin(
        self, routes: Sequence[Route], make_ask: MakeAsk, wanted: Callable[[], bool], most: int = ATTEMPTS_MAX
    ) -> Answer:
        """The first answer that begins, after at most so many attempts. Raises what the caller is told where none does.

        A route is asked again after all others, and only where its own failure allows it. wanted: whether somebody
        still waits for it; nobody is asked on behalf of a caller who has gone.
        """
        failed: list[UpstreamError] = []
        turns: deque[tuple[Route, float]] = deque([(each, AT_ONCE_S) for each in self.health.ordered(routes)])
        while turns and len(failed) < most:
            route, pause_s = turns.popleft()
            if pause_s:
                await asyncio.sleep(pause_s)
            if not wanted():
                break
            try:
                return await self._attempt(route, make_ask(route))
            except asyncio.CancelledError:
                self.unknown = True
                raise
            except UpstreamError as error:
                self.note(route, error)
                failed.append(error)
                self.unknown |= not surely_undone(error) if self.once else _broke_off(error)
                if error.kind == "refused":
                    raise refused(error) from error
                if not _may_fail_over(error) or (self.once and not surely_undone(error)):
                    break
                if _may_retry(error):
                    turns.append((route, max(_pause_s(len(failed) - len(routes)), error.retry_after_s or 0)))
        raise unavailable(*failed)

    async def _attempt(self, route: Route, ask: Ask) -> Answer:
        upstream = self.upstreams[route.provider]
        asked_s = self.health.now()
        reply = await upstream.send(ask)
        rest = aiter(reply)
        first: list[Event] | None = None
        try:
            first = await rest.__anext__()  # anext() would put a wrapper around what is awaited
        except StopAsyncIteration:
            pass
        except BaseException:
            reply.close()
            raise
        if not first:
            raise UpstreamError("garbage", "the answer ended before its first event")
        if first[0].error is not None:
            reply.close()
            first[0].error.request_id = reply.request_id
            raise first[0].error
        self.health.succeeded(route)
        if not first[0].whole:
            self.health.live.spoke(route, self.health.now() - asked_s)
        return Answer(route, upstream, reply, first, rest, ask.native, asked_s)

    def note(self, route: Route, error: UpstreamError) -> None:
        """Put a failure on the receipt and the upstream on the bench."""
        self.health.failed(route, error)
        entry = {"provider": route.provider, "model": route.model, "error": error.kind, "status": error.status}
        if error.request_id is not None:
            entry["request_id"] = error.request_id[:REQUEST_ID_MAX]
        self.log.append(entry)


def _pause_s(round: int) -> float:
    return PAUSE_S[min(max(round, 0), len(PAUSE_S) - 1)]


def _may_retry(error: UpstreamError) -> bool:
    """Whether the same upstream may be asked again after a pause: not sent, 429, 5xx, unless it asks for a long one.

    What broke off without a status may have been served, and billed.
    """
    if error.retry_after_s is not None and error.retry_after_s > PAUSE_S[-1]:
        return False
    return not error.sent or error.kind == "busy" or (error.kind == "down" and error.status is not None)


def _may_fail_over(error: UpstreamError) -> bool:
    """Whether another upstream may be asked: not where this one may still be working on it, and bill it."""
    return not (error.sent and error.kind == "timeout")


def surely_undone(error: UpstreamError) -> bool:
    """Whether the upstream did nothing for it: it never came there, or was turned away at the door."""
    return not error.sent or (error.status is not None and error.status < 500 and error.kind != "timeout")


def _broke_off(error: UpstreamError) -> bool:
    """Whether a request that may be asked for twice was taken, and nobody said that it came to nothing."""
    return error.sent and error.status is None and error.kind in ("down", "timeout", "garbage")


def refused(error: UpstreamError) -> PerQueryError:
    """The upstream's 400, 413 or 422 is the caller's own request: its text passes on."""
    kind = _PASSED_ON.get(error.status or 400, BadRequest)
    return kind(error.message, code=error.code, param=error.param)


def unavailable(*errors: UpstreamError) -> UpstreamUnavailable:
    """The house's troubles are not the caller's: one text for all of them, and when the first may be well again."""
    waits = [error.retry_after_s or RETRY_S for error in errors if error.kind not in HOUSE_TROUBLES]
    wait_s = max(1, min(min(waits, default=RETRY_S), 60))
    return UpstreamUnavailable(
        "No upstream for this model can answer right now; you were not charged."
        " Try again shortly or use another model.",
        headers={"retry-after": str(wait_s)},
    )
