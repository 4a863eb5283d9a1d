"""Which upstreams are well: cooldowns after failures, and the order in which routes are tried.

In-process and in memory, with the clock given. It must never hide the last route: where all are cooling, the
one that is due soonest is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perquery.calls import Route
from perquery.errors import UpstreamError
from perquery.metering.live import Live

COOLDOWN_S = (1.0, 5.0, 15.0, 60.0)
HOUSE_TROUBLES = ("auth", "funds", "model")
HOUSE_TROUBLE_S = 120.0  # a dead key or an empty upstream account does not mend by itself soon


@dataclass(slots=True)
class _State:
    failures: int = 0
    until_s: float = 0


class Health:
    """now: a monotonic clock in seconds. live: what is measured meanwhile."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.live = Live()
        self._states: dict[tuple[str, str], _State] = {}

    def well(self, route: Route) -> bool:
        """Whether it does not cool down."""
        return self._until(route) <= self.now()

    def ordered(self, routes: Sequence[Route]) -> Sequence[Route]:
        """The routes in their own order, those that cool down last (soonest first)."""
        if not self._states:
            return routes
        now = self.now()
        return sorted(routes, key=lambda route: max(0, self._until(route) - now))

    def _until(self, route: Route) -> float:
        places = (("", route.provider), (route.provider, route.model))
        return max((self._states[place].until_s for place in places if place in self._states), default=0.0)

    def succeeded(self, route: Route) -> None:
        if self._states:
            self._states.pop(("", route.provider), None)
            self._states.pop((route.provider, route.model), None)

    def failed(self, route: Route, error: UpstreamError) -> None:
        """Bench the upstream, or only this model there; what the caller caused benches nothing."""
        if error.kind == "refused":
            return
        self.live.failed(route)
        place = (route.provider, route.model) if error.kind in ("model", "busy", "garbage") else ("", route.provider)
        state = self._states.setdefault(place, _State())
        pause_s = COOLDOWN_S[min(state.failures, len(COOLDOWN_S) - 1)]
        if error.kind in HOUSE_TROUBLES:
            pause_s = HOUSE_TROUBLE_S
        if error.retry_after_s is not None:
            pause_s = max(pause_s, min(float(error.retry_after_s), HOUSE_TROUBLE_S))
        state.failures += 1
        state.until_s = self.now() + pause_s
