"""Gemini's images: generateContent with an image for an answer. What answers mean is read where chat's are. It must
never decide money.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from perquery.calls import Ask, Event, Work
from perquery.dialects.gemini_read import Reader
from perquery.errors import UpstreamError
from perquery.providers.drawing import as_wanted, held_back, image, inline, recipe_of, wish_of
from perquery.providers.failures import within
from perquery.providers.openai_images import route_asked
from perquery.providers.replies import Whole, parsed
from perquery.providers.trade import Trade, written
from perquery.providers.wording import words

_SAID_CHARS: Final = 300


class GeminiImages(Trade):
    """One image a request."""

    async def do(self, ask: Ask, work: Work) -> Whole:
        url = f"{self._base_url}/models/{quote(ask.model, safe='')}:generateContent"
        response = await self._line.ask(
            "POST",
            url,
            lambda key: {"content-type": "application/json"} | ({"x-goog-api-key": key} if key else {}),
            self._body(ask, work),
            timeout_s=ask.timeout_s,
            idle_timeout_s=ask.idle_timeout_s,
        )
        return Whole(response, lambda data: _event(data, work))

    def _body(self, ask: Ask, work: Work) -> bytes:
        wish, recipe = wish_of(work), recipe_of(route_asked(self._host.name, ask, work))
        asked = words(recipe, wish)
        work.dropped += asked.dropped
        parts: list[dict[str, Any]] = [{"text": wish.prompt}]
        for url in wish.images:
            kind, data = inline(url, recipe.id)
            parts.append({"inlineData": {"mimeType": kind, "data": data}})
        format = {"aspect_ratio": "aspectRatio"}
        picture = {format.get(name, name): value for name, value in asked.fields.items()}
        settings: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
        settings["maxOutputTokens"] = max(recipe.tokens_max.values())
        settings |= {"imageConfig": picture} if picture else {}
        return written({"contents": [{"role": "user", "parts": parts}], "generationConfig": settings})


def _event(data: bytes, work: Work) -> Event:
    found = parsed(data)
    if isinstance(found, Event):
        return found
    if found.get("error"):
        return Event(data, error=within(found["error"]))
    answer = Reader().whole(found, data)
    if answer.error is not None or answer.parsed is None:
        return answer
    message = answer.parsed["choices"][0]["message"]
    images = [_image(one) for one in message.get("images") or ()]
    if not images:
        told = message.get("refusal") or message.get("content") or ""
        return Event(data, error=held_back(f"No image was drawn. {told[:_SAID_CHARS]}".strip()))
    if answer.usage is None:
        return Event(data, error=UpstreamError("garbage", "the upstream's answer holds no figures"))
    made = {"data": as_wanted(images, wish_of(work)), "usage": answer.parsed.get("usage")}
    return Event(data, parsed=made, usage=answer.usage, finish="stop", whole=True)


def _image(found: dict[str, Any]) -> dict[str, Any]:
    kind, data = inline(found["image_url"]["url"], "")
    return image(data=data, kind=kind)
