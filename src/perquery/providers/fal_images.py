"""fal's images through its queue: begun, waited for, fetched. It must never decide money."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import orjson

from perquery.calls import Ask, Event, Reply, Usage, Work
from perquery.catalog.recipes import Recipe
from perquery.dialects.images import Wish, kind_of
from perquery.errors import UpstreamError
from perquery.providers.drawing import as_wanted, drawn, image, recipe_of, wish_of
from perquery.providers.fal import Queue, billed_micro_units
from perquery.providers.line import Line
from perquery.providers.openai_images import route_asked
from perquery.providers.studio import at_home, failed
from perquery.providers.trade import Trade, count_in, garbage
from perquery.providers.wording import words

PAUSES_S: Final = (0.2, 0.3, 0.5, 0.8, 1.2, 2.0)  # then the last one over and over
IMAGE_BYTES_MAX: Final = 64 * 2**20
_MICRO: Final = 10**6


class FalImages(Queue, Trade):
    """Every image model that fal sells."""

    async def do(self, ask: Ask, work: Work) -> Reply:
        wish, recipe = wish_of(work), recipe_of(route_asked(self._host.name, ask, work))
        asked = words(recipe, wish)
        work.dropped += asked.dropped
        body: dict[str, Any] = {"prompt": wish.prompt, **asked.fields}
        if wish.images:
            field = recipe.schema.image
            body[field] = list(wish.images) if field.endswith("s") else wish.images[0]
        line = self._line.pinned()
        id = await self.enqueue(line, asked.model, body)
        return _Waiting(self, line, asked.model, id, ask.timeout_s, recipe, wish, self._base_url)


class _Waiting:
    """A `Reply` that is waited for in the queue."""

    def __init__(
        self, queue: Queue, line: Line, model: str, id: str, within_s: float, recipe: Recipe, wish: Wish, home: str
    ) -> None:
        self._queue = queue
        self._line = line
        self._model = model
        self._id = id
        self._within_s = within_s
        self._recipe = recipe
        self._wish = wish
        self._home = home
        self._closed = asyncio.Event()
        self._over = False

    @property
    def request_id(self) -> str | None:
        return self._id

    def close(self) -> None:
        """Nobody waits for it any more: it may yet be stopped."""
        self._closed.set()

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        try:
            async with asyncio.timeout(self._within_s):
                await self._finished()
                yield [await self._result()]
                self._over = True
        except TimeoutError as error:
            raise UpstreamError("timeout", "the queue took too long") from error
        finally:
            if not self._over:
                await self._stop()

    async def _finished(self) -> None:
        """Wait until the queue says that it is. Raises UpstreamError."""
        turn = 0
        while True:
            status = await self._queue.status(self._line, self._model, self._id)
            if error := status.get("error"):
                raise failed(error)
            if status.get("status") == "COMPLETED":
                return
            if self._closed.is_set():
                raise UpstreamError("down", "given up")
            await asyncio.sleep(PAUSES_S[min(turn, len(PAUSES_S) - 1)])
            turn += 1

    async def _stop(self) -> None:
        try:
            async with asyncio.timeout(5):
                await self._queue.stop(self._line, self._model, self._id)
        except (UpstreamError, TimeoutError):
            pass  # then it goes on, and the house pays for it

    async def _result(self) -> Event:
        result, response = await self._queue.result(self._line, self._model, self._id)
        rows = _rows(result)
        images = [await self._image(row) for row in rows]
        sizes = [_size(row) for row in rows]
        usage = drawn(self._recipe, self._wish, sizes)
        usage.upstream_cost_pico = _cost(self._recipe, usage, response.headers)
        made = {"data": as_wanted(images, self._wish)}
        return Event(orjson.dumps(result), parsed=made, usage=usage, finish="stop", whole=True)

    async def _image(self, row: Mapping[str, Any]) -> dict[str, Any]:
        url, kind = row["url"], row.get("content_type")
        kind = kind if isinstance(kind, str) and kind.startswith("image/") else "image/png"
        if url.startswith("data:"):
            head, _, data = url.partition(",")
            return image(data=data, kind=head.removeprefix("data:").partition(";")[0])
        if self._wish.wanted != "b64_json":
            return image(url=url, kind=kind)
        data = await self._line.fetch(url, IMAGE_BYTES_MAX, guard=not at_home(url, self._home))
        return image(data=b64encode(data).decode(), kind=kind_of(data) or kind)


def _rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images of a result: several, or one. Raises UpstreamError."""
    found = result.get("images") or [result.get("image")]
    rows = [one if isinstance(one, dict) else {"url": one} for one in found] if isinstance(found, list) else []
    sound = all(str(row.get("url") or "").startswith(("https://", "http://", "data:image/")) for row in rows)
    if not rows or not sound:
        raise garbage("holds no images")
    return rows


def _size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = count_in(row, "width"), count_in(row, "height")
    return (width, height) if width and height and max(width, height) <= 2**16 else None


def _cost(recipe: Recipe, usage: Usage, headers: Mapping[str, str]) -> int | None:
    """What the queue says that it billed, at the listed price of its one unit."""
    prices, billed = recipe.price.at(0), billed_micro_units(headers)
    if billed is None or len(usage.counts) != 1:
        return None
    unit = next(iter(usage.counts))
    return prices[unit] * billed // _MICRO
