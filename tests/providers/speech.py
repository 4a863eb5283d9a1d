"""Speech work for the tests of upstreams, and one piece of it asked of a scripted upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from perquery.calls import Ask, Event, Upload, Work
from perquery.dialects import speech, transcriptions
from perquery.dialects.forms import Form
from perquery.errors import UpstreamError
from perquery.outbound import Client
from perquery.providers.hosts import HOSTS
from perquery.providers.table import ActiveHost, Speaker
from tests.media.sounds import wav
from tests.providers.wire import HANG_S, Outcome
from tests.workshop import Made, Order, workshop

KEY: Final = "the-key"
SECONDS: Final = 4
SOUND: Final = wav(SECONDS)
SAID: Final = "Hello there."


def heard(**fields: Any) -> Work:
    """Four seconds to be transcribed."""
    task = fields.pop("task", "transcribe")
    return transcriptions.parse(Form(fields, (Upload("file", "a.mp3", SOUND),), b""), task)


def spoken(**fields: Any) -> Work:
    return speech.parse(Form({"input": SAID, "voice": "a-voice"} | fields, (), b""))


def done(
    host: str, work: Work, make: Callable[[Order], Made], model: str = "m", *, timeout_s: float = HANG_S
) -> tuple[Outcome, list[Order]]:
    """One piece of work done by a host of the table: what came of it, and what the upstream saw."""

    async def run() -> tuple[Outcome, list[Order]]:
        async with workshop(make) as upstream:
            client = Client()
            try:
                active = ActiveHost(replace(HOSTS[host], base_url=upstream.base_url), (KEY,))
                speaker = Speaker(active, client, lambda: 0.0)
                ask = Ask(model, b"", work.streamed, timeout_s, timeout_s, work=work)
                return await outcome(speaker, ask), upstream.orders
            finally:
                await client.close()

    return asyncio.run(asyncio.wait_for(run(), HANG_S))


async def outcome(speaker: Speaker, ask: Ask) -> Outcome:
    result = Outcome()
    try:
        reply = await speaker.send(ask)
        async for batch in reply:
            result.batches.append(batch)
        reply.close()
    except UpstreamError as error:
        result.error = error
    return result


def last(result: Outcome) -> Event:
    assert result.error is None, result.error
    return result.events[-1]
