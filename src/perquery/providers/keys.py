"""The turns of a host's keys: which one is asked next, and which is left out for a while.

It must never leave a request without a key, nor bench the only one: a host's health is metering's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from perquery.errors import UpstreamError

BENCH_S: Final = 300.0  # a key that is dead or spent
BUSY_S: Final = 5.0  # a key that has asked too often, where the host names no time


def printed(key: str) -> str:
    """What stands for a key where it is written down."""
    return sha256(key.encode()).hexdigest()[:12]


class Keys:
    """A host's keys; "" stands for none. `now` is a monotonic clock in seconds."""

    def __init__(self, keys: Sequence[str], now: Callable[[], float]) -> None:
        self._keys = list(keys) or [""]
        self._now = now
        self._benched: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def next(self) -> str:
        """The next key in turn that is not benched; if all are, the one that is due first."""
        if not self._benched:
            self._keys.append(key := self._keys.pop(0))
            return key
        now = self._now()
        due = [self._benched.get(key, 0.0) for key in self._keys]
        place = next((place for place, until in enumerate(due) if until <= now), due.index(min(due)))
        self._keys.append(key := self._keys.pop(place))
        return key

    @property
    def first(self) -> str:
        """The one key of those that have but one."""
        return self._keys[0]

    def of(self, print: str) -> Keys:
        """The key of that print alone; the next in turn where it is not among them any more."""
        return Keys([next((key for key in self._keys if printed(key) == print), None) or self.next()], self._now)

    def one(self) -> Keys:
        """The next key in turn alone."""
        return Keys([self.next()], self._now)

    def bench(self, key: str, error: UpstreamError) -> bool:
        """Whether it is the key's fault and another one may do; then it is left out for as long as the error says."""
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
