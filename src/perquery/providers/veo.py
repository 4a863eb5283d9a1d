"""Veo over Google's own API: a long-running operation, begun and looked at. It must never decide money."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from perquery.errors import BadRequest, UpstreamError
from perquery.providers.studio import Film, Filming, Look, Shot, at_home, failed, read_ticket, ticket_of

_OPERATION: Final = re.compile(r"(?:models/[A-Za-z0-9._-]+/)?operations/[A-Za-z0-9._-]+")
_DATA: Final = re.compile(r"data:(image/[a-z+.-]+);base64,(.+)", re.DOTALL)
_FILTERED: Final = "the video was held back by the upstream's safety filter"


class Veo(Filming):
    """A `Studio`."""

    def _headers(self, key: str) -> dict[str, str]:
        return {"content-type": "application/json"} | ({"x-goog-api-key": key} if key else {})

    async def submit(self, shot: Shot) -> str:
        line = self._line.pinned()
        url = f"{self._base_url}/models/{quote(shot.model, safe='')}:predictLongRunning"
        answer, _ = await self._asked(line, "POST", url, asked(shot))
        name = answer.get("name")
        if not isinstance(name, str) or not _OPERATION.fullmatch(name):
            raise UpstreamError("garbage", "the upstream did not say what it calls the operation", sent=True)
        return ticket_of(line, name)

    async def look(self, ticket: str) -> Look:
        name, print = read_ticket(ticket)
        line = self._line.of(print)
        try:
            operation, _ = await self._asked(line, "GET", f"{self._base_url}/{name}")
        except UpstreamError as error:
            if error.status == 404:
                return Look("failed", error=error)
            raise
        if operation.get("done") is not True:
            return Look("running")
        if told := operation.get("error"):
            return Look("failed", error=failed(told))
        film = _film(operation.get("response"))
        if isinstance(film, UpstreamError):
            return Look("failed", error=film)
        home = at_home(film, self._base_url)
        return Look("done", 100, Film(film, self._headers(line.key) if home else {}, own=home))

    async def cancel(self, ticket: str) -> None:
        """Google has no way to stop one."""


def asked(shot: Shot) -> dict[str, Any]:
    """The body. Raises BadRequest for an image that only its URL names: Google wants its bytes."""
    instance: dict[str, Any] = {"prompt": shot.prompt}
    if shot.image:
        found = _DATA.fullmatch(shot.image)
        if found is None:
            raise BadRequest(f"{shot.recipe.id} takes an image as a data URL only.", param="image_url")
        instance["image"] = {"bytesBase64Encoded": found[2], "mimeType": found[1]}
    parameters: dict[str, Any] = {"durationSeconds": shot.seconds, "resolution": shot.resolution, **shot.fields}
    if shot.ratio:
        parameters["aspectRatio"] = shot.ratio
    return {"instances": [instance], "parameters": parameters}


def _film(response: Any) -> str | UpstreamError:
    """The video's address, or why there is none."""
    inner = response.get("generateVideoResponse") if isinstance(response, Mapping) else None
    inner = inner if isinstance(inner, dict) else {}
    samples = inner.get("generatedSamples")
    sample = samples[0] if isinstance(samples, list) and samples else None
    video = sample.get("video") if isinstance(sample, dict) else None
    uri = video.get("uri") if isinstance(video, dict) else None
    if isinstance(uri, str) and uri.startswith(("https://", "http://")):
        return uri
    reasons = inner.get("raiMediaFilteredReasons")
    if reasons or inner.get("raiMediaFilteredCount"):
        told = reasons[0] if isinstance(reasons, list) and reasons and isinstance(reasons[0], str) else _FILTERED
        return failed({"message": told, "code": "content_policy_violation"})
    return UpstreamError("garbage", "the upstream's operation holds no video")
