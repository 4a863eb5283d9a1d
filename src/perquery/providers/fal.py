"""fal's queue: a request submitted, its status, its result. One adapter for all that fal sells, images and videos; what
differs between models is data (`catalog.recipes`).

The addresses of a request are made here out of its id: what an answer says of them is never followed with a key. It
must never decide money.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import quote

from perquery.errors import UpstreamError
from perquery.outbound import Response
from perquery.providers.line import Line
from perquery.providers.studio import Film, Filming, Look, Shot, at_home, failed, read_ticket, ticket_of

_NAMESPACES: Final = frozenset({"workflows", "comfy"})
_VERDICTS: Final = frozenset({"refused", "model"})
_SCALE: Final = 10**6
_UNITS_MAX: Final = 10**6


def app_path(model: str) -> str:
    """owner/app of a model's name: what its requests are found under."""
    parts = model.split("/")
    return "/".join(parts[: 3 if parts[0] in _NAMESPACES else 2])


class Queue(Filming):
    """The queue's three addresses."""

    def _headers(self, key: str) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        return headers | ({"authorization": f"Key {key}"} if key else {})

    async def enqueue(self, line: Line, model: str, body: Mapping[str, Any]) -> str:
        """The request's id. A failure after it was sent leaves it unknown."""
        answer, _ = await self._asked(line, "POST", f"{self._base_url}/{model}", body)
        id = answer.get("request_id")
        if not isinstance(id, str) or not id:
            raise UpstreamError("garbage", "the queue did not say what it calls the request", sent=True)
        return id

    async def status(self, line: Line, model: str, id: str) -> dict[str, Any]:
        answer, _ = await self._asked(line, "GET", f"{self._where(model, id)}/status")
        return answer

    async def result(self, line: Line, model: str, id: str) -> tuple[dict[str, Any], Response]:
        return await self._asked(line, "GET", self._where(model, id))

    async def stop(self, line: Line, model: str, id: str) -> None:
        await self._asked(line, "PUT", f"{self._where(model, id)}/cancel")

    def _where(self, model: str, id: str) -> str:
        return f"{self._base_url}/{app_path(model)}/requests/{quote(id, safe='')}"


class FalVideos(Queue):
    """A `Studio`."""

    async def submit(self, shot: Shot) -> str:
        line = self._line.pinned()
        id = await self.enqueue(line, shot.model, asked(shot))
        return ticket_of(line, f"{app_path(shot.model)}#{id}")

    async def look(self, ticket: str) -> Look:
        line, model, id = self._read(ticket)
        try:
            status = await self.status(line, model, id)
            if error := status.get("error"):
                return Look("failed", error=failed(error))
            match status.get("status"):
                case "IN_QUEUE":
                    return Look("waiting")
                case "COMPLETED":
                    return self._film(*await self.result(line, model, id))
                case "CANCELED" | "CANCELLED" | "FAILED" as word:
                    return Look("failed", error=failed(f"the upstream says {word}"))
                case _:
                    return Look("running")
        except UpstreamError as error:
            if error.kind in _VERDICTS and error.status is not None:
                return Look("failed", error=error)
            raise

    async def cancel(self, ticket: str) -> None:
        await self.stop(*self._read(ticket))

    def _film(self, result: Mapping[str, Any], _response: Response) -> Look:
        videos = result.get("videos")
        video = result.get("video") or (videos[0] if isinstance(videos, list) and videos else None)
        url = video.get("url") if isinstance(video, dict) else video
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            return Look("failed", error=UpstreamError("garbage", "the upstream's result holds no video"))
        return Look("done", 100, Film(url, own=at_home(url, self._base_url)))

    def _read(self, ticket: str) -> tuple[Line, str, str]:
        name, print = read_ticket(ticket)
        model, _, id = name.partition("#")
        return self._line.of(print), model, id


def asked(shot: Shot) -> dict[str, Any]:
    """The body for a video."""
    schema = shot.recipe.schema
    body: dict[str, Any] = {"prompt": shot.prompt, **shot.fields}
    length: dict[str, Any] = {"text": str(shot.seconds), "s": f"{shot.seconds}s", "number": shot.seconds}
    body["duration"] = length[schema.duration]
    if shot.resolution:
        body["resolution"] = shot.resolution
    if shot.ratio:
        body["aspect_ratio"] = shot.ratio
    if shot.image:
        body[schema.image] = [shot.image] if schema.image.endswith("s") else shot.image
    return body


def billed_micro_units(headers: Mapping[str, str]) -> int | None:
    """What the queue says that it billed, in millionths of the model's unit; None where it does not say."""
    text = headers.get("x-fal-billable-units", "")
    try:
        units = Decimal(text) if len(text) <= 24 else Decimal("NaN")
    except InvalidOperation:
        return None
    return int(units * _SCALE) if units.is_finite() and 0 <= units <= _UNITS_MAX else None
