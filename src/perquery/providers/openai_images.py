"""OpenAI's images, and what follows them (xAI): one JSON body out, images back. It must never decide money."""

from __future__ import annotations

from typing import Any

from perquery.calls import Ask, Route, Unit, Usage, Work
from perquery.providers.drawing import as_wanted, drawn, image, recipe_of, wish_of
from perquery.providers.studio import PICO_PER_TICK
from perquery.providers.trade import Posted, count_in, garbage, written
from perquery.providers.wording import words


class OpenAIImages(Posted):
    """POST /images/generations and /images/edits."""

    def url(self, ask: Ask, work: Work) -> str:
        return f"{self._base_url}/images/{'edits' if wish_of(work).images else 'generations'}"

    def body(self, ask: Ask, work: Work) -> bytes:
        wish = wish_of(work)
        asked = words(recipe_of(route_asked(self._host.name, ask, work)), wish)
        work.dropped += asked.dropped
        body: dict[str, Any] = {"model": ask.model, "prompt": wish.prompt, **asked.fields}
        if wish.images:
            body |= self._shown(wish.images)
        if wish.mask:
            body["mask"] = {"image_url": wish.mask}
        return written(body)

    def _shown(self, urls: tuple[str, ...]) -> dict[str, Any]:
        return {"images": [{"image_url": url} for url in urls]}

    def read(self, answer: dict[str, Any], work: Work) -> tuple[dict[str, Any], Usage]:
        rows = answer.get("data")
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise garbage("holds no images")
        kind = f"image/{answer.get('output_format') or 'png'}"
        images = [_image(row, kind) for row in rows]
        wish = wish_of(work)
        made: dict[str, Any] = {"data": as_wanted(images, wish)}
        figures = answer.get("usage")
        usage = _tokens(figures)
        if usage is None:
            usage = drawn(recipe_of(work.body["route"]), wish, [None] * len(images))
        else:
            made["usage"] = figures
        return made, _with_cost(usage, figures)


class XaiImages(OpenAIImages):
    """The same, with the form of its images and an aspect ratio."""

    def body(self, ask: Ask, work: Work) -> bytes:
        wish = wish_of(work)
        asked = words(recipe_of(route_asked(self._host.name, ask, work)), wish)
        work.dropped += asked.dropped
        body: dict[str, Any] = {"model": ask.model, "prompt": wish.prompt, **asked.fields}
        body["response_format"] = wish.wanted or "url"
        return written(body | (self._shown(wish.images) if wish.images else {}))

    def _shown(self, urls: tuple[str, ...]) -> dict[str, Any]:
        shown = [{"url": url, "type": "image_url"} for url in urls]
        return {"image": shown[0]} if len(shown) == 1 else {"images": shown}


def route_asked(host: str, ask: Ask, work: Work) -> Route:
    """The route that is asked, for whoever reads its answer."""
    route: Route = work.body["routes"][host, ask.model]
    work.body["route"] = route
    return route


def _image(row: dict[str, Any], kind: str) -> dict[str, Any]:
    url, data = row.get("url"), row.get("b64_json")
    if isinstance(data, str) and data:
        return image(data=data, kind=kind, told=row.get("revised_prompt"))
    if not isinstance(url, str) or not url.startswith(("https://", "http://", "data:")):
        raise garbage("holds an image without bytes and without a URL")
    return image(url=url, kind=kind, told=row.get("revised_prompt"))


def _tokens(figures: Any) -> Usage | None:
    """Disjoint buckets; None where it is not paid by the token."""
    given, made = count_in(figures, "input_tokens"), count_in(figures, "output_tokens")
    if given is None or made is None or not given + made:
        return None
    shown = min(count_in(figures.get("input_tokens_details"), "image_tokens") or 0, given)
    cached = min(count_in(figures.get("input_tokens_details"), "cached_tokens") or 0, given - shown)
    said = min(count_in(figures.get("output_tokens_details"), "text_tokens") or 0, made)
    counts: dict[Unit, int] = {"input": given - shown - cached, "image_output": made - said}
    more: dict[Unit, int] = {"image_input": shown, "cache_read": cached, "output": said}
    return Usage(counts | {unit: count for unit, count in more.items() if count})


def _with_cost(usage: Usage, figures: Any) -> Usage:
    """With xAI's own figure."""
    ticks = count_in(figures, "cost_in_usd_ticks")
    if ticks is not None:
        usage.upstream_cost_pico = ticks * PICO_PER_TICK
    return usage
