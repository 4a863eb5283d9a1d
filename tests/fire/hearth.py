"""One bed for many tests: a gateway that goes on burning between them, since starting it costs more than a case.

Each case has an account of its own; the books of all are checked with each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from perquery.metering.health import Health
from tests.fire.bed import Bed, lit

_T = TypeVar("_T")


@dataclass(frozen=True)
class Hearth:
    runner: asyncio.Runner
    bed: Bed

    def run(self, case: Coroutine[Any, Any, _T]) -> _T:
        """Run one case to its end; the cases before are forgotten, upstreams are taken to be well again."""
        self.bed.gateway.health = Health(self.bed.gateway.now)
        for upstream in self.bed.upstreams.values():
            upstream.forget()
        return self.runner.run(case)


@contextmanager
def burning(data: Path, **settings: Any) -> Iterator[Hearth]:
    """A hearth; settings as for `lit`."""
    with asyncio.Runner() as runner:
        context = lit(data, **settings)
        bed = runner.run(context.__aenter__())
        yield Hearth(runner, bed)
        runner.run(context.__aexit__(None, None, None))
