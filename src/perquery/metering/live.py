"""How fast and how reliable each route has been lately: three figures a route, moved a part of the way by each call.

Integers, two or three additions a call, nothing that grows with the traffic. It must never decide anything: routing
and the endpoints that show it read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from perquery.calls import Route

_SPEED_PARTS: Final = 8  # a new figure of speed counts for an eighth
_FAILURE_PARTS: Final = 32
_TOKENS_MIN: Final = 16  # shorter answers say nothing about throughput
_MILLION: Final = 1_000_000


@dataclass(slots=True)
class Pulse:
    """One route. latency_us: from the request to the first event of a stream; milli_tokens: thousandths of an output
    token a second, from the request to the end; failed: attempts of a million that fail. None: not known yet.
    """

    latency_us: int | None = None
    milli_tokens: int | None = None
    failed: int = 0
    asked: bool = False

    @property
    def uptime_ppm(self) -> int | None:
        return _MILLION - self.failed if self.asked else None


class Live:
    """Used from one event loop."""

    def __init__(self) -> None:
        self._pulses: dict[tuple[str, str], Pulse] = {}

    def of(self, route: Route) -> Pulse:
        """What is known of the route."""
        return self._pulses.get((route.provider, route.model)) or Pulse()

    def all(self) -> Iterator[tuple[str, str, Pulse]]:
        """Provider, model there, figures."""
        for (provider, model), pulse in self._pulses.items():
            yield provider, model, pulse

    def _at(self, route: Route) -> Pulse:
        place = (route.provider, route.model)
        pulse = self._pulses.get(place)
        if pulse is None:
            pulse = self._pulses[place] = Pulse(asked=True)
        return pulse

    def spoke(self, route: Route, waited_s: float) -> None:
        """A stream has begun."""
        pulse = self._at(route)
        pulse.latency_us = _moved(pulse.latency_us, round(waited_s * _MILLION))

    def ended(self, route: Route, output_tokens: int, lasted_s: float) -> None:
        """An answer has come whole."""
        pulse = self._at(route)
        pulse.failed -= pulse.failed // _FAILURE_PARTS
        if output_tokens >= _TOKENS_MIN:
            lasted_us = max(1, round(lasted_s * _MILLION))
            pulse.milli_tokens = _moved(pulse.milli_tokens, output_tokens * 1_000 * _MILLION // lasted_us)

    def failed(self, route: Route) -> None:
        pulse = self._at(route)
        pulse.failed += (_MILLION - pulse.failed) // _FAILURE_PARTS


def _moved(figure: int | None, new: int) -> int:
    return new if figure is None else figure + (new - figure) // _SPEED_PARTS
