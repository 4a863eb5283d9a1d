"""Fixtures of the outbound tests: both event loops, and trust in the certificate of the tests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

Run = Callable[[Coroutine[object, object, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine to its end, on asyncio's own event loop and on the one of production."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def runs(main: Coroutine[object, object, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)

    return runs


@pytest.fixture
def trust(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """What a client needs to believe the server of `server_tls`."""
    return ssl.create_default_context(cafile=str(certificate[0]))
