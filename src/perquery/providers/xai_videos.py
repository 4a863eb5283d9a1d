"""xAI's videos: a request begun and looked at. It must never decide money."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from perquery.errors import UpstreamError
from perquery.providers.studio import (
    PICO_PER_TICK,
    Film,
    Filming,
    Look,
    Shot,
    at_home,
    failed,
    read_ticket,
    ticket_of,
)

_COST_MAX: Final = 10**15


class XaiVideos(Filming):
    """A `Studio`."""

    async def submit(self, shot: Shot) -> str:
        line = self._line.pinned()
        answer, _ = await self._asked(line, "POST", f"{self._base_url}/videos/generations", asked(shot))
        id = answer.get("request_id")
        return ticket_of(line, id if isinstance(id, str) else "")

    async def look(self, ticket: str) -> Look:
        id, print = read_ticket(ticket)
        try:
            answer, _ = await self._asked(self._line.of(print), "GET", f"{self._base_url}/videos/{quote(id, safe='')}")
        except UpstreamError as error:
            if error.status in (404, 400, 422):
                return Look("failed", error=error)
            raise
        match answer.get("status"):
            case "failed" | "expired" as word:
                return Look("failed", error=failed(answer.get("error") or f"the upstream says {word}"))
            case "done":
                return _done(answer, self._base_url)
            case _:
                return Look("running", _percent(answer.get("progress")))

    async def cancel(self, ticket: str) -> None:
        """xAI has no way to stop one."""


def asked(shot: Shot) -> dict[str, Any]:
    body: dict[str, Any] = {"model": shot.model, "prompt": shot.prompt, "duration": shot.seconds, **shot.fields}
    if shot.resolution:
        body["resolution"] = shot.resolution
    if shot.ratio:
        body["aspect_ratio"] = shot.ratio
    if shot.image:
        body["image"] = {"url": shot.image}
    return body


def _done(answer: dict[str, Any], base_url: str) -> Look:
    video = answer.get("video")
    video = video if isinstance(video, dict) else {}
    url = video.get("url")
    if video.get("respect_moderation") is False or not isinstance(url, str) or not url:
        told = {"message": "the video was held back by the upstream's moderation", "code": "content_policy_violation"}
        return Look("failed", error=failed(told))
    usage = answer.get("usage")
    ticks = usage.get("cost_in_usd_ticks") if isinstance(usage, dict) else None
    cost = ticks * PICO_PER_TICK if type(ticks) is int and 0 <= ticks <= _COST_MAX else None
    seconds = video.get("duration")
    return Look(
        "done",
        100,
        Film(url, own=at_home(url, base_url)),
        seconds if type(seconds) is int and 0 < seconds < 1_000 else None,
        cost,
    )


def _percent(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= 100 else None
