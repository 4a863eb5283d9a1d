"""An upstream's sound on its way: bytes as they come, with what they cost from the first of them on.

It must never pass on what is no sound, nor let an answer that broke off pass for one that ended.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Mapping

from perquery.calls import Event, Unit, Usage
from perquery.errors import UpstreamError
from perquery.outbound import OutboundError, Response
from perquery.providers.failures import broke, within
from perquery.providers.replies import Answering, parsed
from perquery.providers.trade import count_in, garbage


class Sound(Answering):
    """The body is the sound. usage: what it counts, known before it has come: who speaks bills for the text."""

    def __init__(self, response: Response, usage: Usage) -> None:
        super().__init__(response)
        self._usage = usage
        self._type = response.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        if self._type.startswith("text/") or self._type == "application/json":
            self._response.abort()
            raise garbage("is no sound")
        came = False
        try:
            async for piece in self._response:
                came = True
                yield [Event(piece, text_bytes=len(piece), usage=self._usage)]
        except OutboundError as error:
            raise broke(error) from error
        if not came:
            raise garbage("holds no sound")
        yield [Event(b"", usage=self._usage, finish="stop", whole=True)]


class SoundEvents:
    """OpenAI's stream of events with pieces of sound in them (`replies.Payloads`): the last has the figures."""

    def __init__(self, given: Mapping[Unit, int]) -> None:
        self.finished = False
        self._given = given

    def read(self, data: bytes) -> list[Event]:
        found = parsed(data)
        if isinstance(found, Event):
            return [found]
        kind = found.get("type")
        if kind == "error" or found.get("error"):
            return [Event(data, error=within(found.get("error") or found))]
        try:
            if kind == "speech.audio.delta":
                sound = base64.b64decode(found["audio"], validate=True)
                return [Event(sound, text_bytes=len(sound), given=self._given)] if sound else []
        except (KeyError, TypeError, ValueError, binascii.Error):
            return [Event(data, error=UpstreamError("garbage", "the upstream's answer holds no sound"))]
        if kind == "speech.audio.done":
            self.finished = True
            return [Event(b"", usage=_usage(found.get("usage")), given=self._given, finish="stop", whole=True)]
        return []


def _usage(figures: object) -> Usage | None:
    given, made = count_in(figures, "input_tokens"), count_in(figures, "output_tokens")
    return Usage({"input": given, "audio_output": made}) if given is not None and made is not None else None
