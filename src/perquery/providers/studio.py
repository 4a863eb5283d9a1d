"""What makes videos: one host in one protocol, asked once, looked at until it has a verdict, told to stop.

A ticket is all that a host needs to be looked at again, by another process too; it names the key by its print, never
the key itself. It must never decide money, and never ask twice: what was sent may be under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

import orjson

from perquery.calls import Unit
from perquery.catalog.recipes import Recipe
from perquery.dialects.videos import VideoWish
from perquery.errors import BadRequest, UpstreamError
from perquery.outbound import OutboundError, Response
from perquery.providers.failures import answered, broke
from perquery.providers.hosts import Host
from perquery.providers.keys import printed
from perquery.providers.line import Line
from perquery.providers.wording import nearest

Standing: TypeAlias = Literal["waiting", "running", "done", "failed"]

ASK_S: Final = 60.0  # for an answer to anything; a submission that takes longer is taken for lost
BODY_BYTES_MAX: Final = 4 * 2**20
TICKET_CHARS_MAX: Final = 1_000
PICO_PER_TICK: Final = 100  # of xAI: 10^-10 USD
_UNITS: Final[Mapping[str, Unit]] = {
    "480p": "second_480p",
    "720p": "second_720p",
    "768p": "second_720p",
    "1080p": "second_1080p",
    "2k": "second_1440p",
    "4k": "second_2160p",
}


@dataclass(frozen=True, slots=True)
class Shot:
    """A wish in one model's words. counts: the units that it is paid by. resolution, ratio: in the model's words, ""
    where it is told none. image: a URL. fields: what else is said. dropped: our parameters that it does not take.
    """

    model: str
    prompt: str
    seconds: int
    resolution: str
    ratio: str
    image: str
    fields: Mapping[str, Any]
    counts: Mapping[Unit, int]
    dropped: tuple[str, ...]
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Film:
    """Where a finished video lies. headers: to be sent along there and nowhere else. own: at the host's address."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    own: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """How a job stands. percent: where the host says it. seconds: the video's, where the host says it; cost_pico: the
    host's own figure. error: why it failed.
    """

    standing: Standing
    percent: int | None = None
    film: Film | None = None
    seconds: int | None = None
    cost_pico: int | None = None
    error: UpstreamError | None = None


class Studio(Protocol):
    """Three verbs. All raise UpstreamError; of `submit`, where `sent` is set, nobody knows whether it was begun."""

    async def submit(self, shot: Shot) -> str:
        """Begin; the ticket."""

    async def look(self, ticket: str) -> Look:
        """A failure that is raised says nothing of the job: look again later."""

    async def cancel(self, ticket: str) -> None:
        """Ask to stop; what becomes of it, `look` says."""


class Filming:
    """What studios have in common: a host and its line, requests that answer in JSON."""

    def __init__(self, host: Host, line: Line) -> None:
        self._host = host
        self._base_url = host.base_url.rstrip("/")
        self._line = line

    async def _asked(
        self, line: Line, method: str, url: str, body: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], Response]:
        """The answer as an object. Raises UpstreamError."""
        sent = orjson.dumps(body) if body is not None else b""
        response = await line.ask(
            method, url, self._headers, sent, timeout_s=ASK_S, idle_timeout_s=ASK_S, served=(200, 201, 202)
        )
        try:
            data = await response.read(BODY_BYTES_MAX)
        except OutboundError as error:
            raise broke(error) from error
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise UpstreamError("garbage", "the upstream's answer is not an object")
        return found, response

    def _headers(self, key: str) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        return headers | ({"authorization": f"Bearer {key}"} if key else {})


def at_home(url: str, base_url: str) -> bool:
    """Whether the URL is at the host's own address, where the operator has allowed to go."""
    ours, theirs = urlsplit(base_url), urlsplit(url)
    return (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)


def ticket_of(line: Line, name: str) -> str:
    """A ticket that names the job and the key of the line. Raises UpstreamError for what cannot be a name."""
    if not name or len(name) > TICKET_CHARS_MAX or not name.isascii() or not name.isprintable():
        raise UpstreamError("garbage", "the upstream did not say what it calls the job", sent=True)
    return orjson.dumps({"name": name, "key": printed(line.key)}).decode()


def read_ticket(ticket: str) -> tuple[str, str]:
    """(name, print of the key)."""
    found = orjson.loads(ticket)
    return found["name"], found["key"]


def failed(told: Any) -> UpstreamError:
    """A verdict: the job was refused or broke. told: an error as the host writes it."""
    error = answered(400, {}, orjson.dumps({"error": told}))
    return UpstreamError("refused", error.message, status=400, code=error.code)


def shot(recipe: Recipe, wish: VideoWish) -> Shot:
    """Raises BadRequest for what this model cannot do."""
    schema = recipe.schema
    model = recipe.asked_as(with_image=bool(wish.image))
    if not model:
        does = "cannot start from an image" if wish.image else "needs `image_url`, an image to start from"
        raise BadRequest(f"{recipe.id} {does}.", param="image_url", code="unsupported_parameter")
    seconds = wish.seconds or schema.seconds[0]
    if seconds not in schema.seconds:
        offered = ", ".join(str(each) for each in sorted(schema.seconds))
        raise BadRequest(f"{recipe.id} makes videos of {offered} seconds.", param="duration")
    fields, dropped = dict(schema.fixed), list(wish.unknown)
    for name, value in (wish.said or {}).items():
        if (theirs := schema.fields.get(name)) is not None:
            fields[theirs] = value
        else:
            dropped.append(name)
    resolution = _resolution(recipe, wish, dropped)
    prices = recipe.price.at(0)
    unit = _UNITS.get(resolution.lower(), "second")
    counts: dict[Unit, int] = {unit if unit in prices else "second": seconds}
    if wish.image and "image" in prices:
        counts["image"] = 1
    ratio = _ratio(recipe, wish)
    return Shot(
        *(model, wish.prompt, seconds, resolution, ratio, wish.image, fields, counts, tuple(sorted(set(dropped)))),
        recipe,
    )


def _resolution(recipe: Recipe, wish: VideoWish, dropped: list[str]) -> str:
    offered = recipe.schema.resolutions
    if not offered:
        dropped += ["quality"] * bool(wish.resolution)
        return ""
    if not wish.resolution:
        return offered[0]
    by_word: Callable[[str], str] = str.lower
    found = next((each for each in offered if by_word(each) == wish.resolution), None)
    if found is None:
        raise BadRequest(f"{recipe.id} makes videos in {', '.join(offered)}.", param="quality")
    return found


def _ratio(recipe: Recipe, wish: VideoWish) -> str:
    """As the model has it; a size in pixels stands for the nearest one."""
    offered = recipe.schema.ratios
    if not wish.ratio:
        return "" if wish.image else offered[0]
    if wish.ratio in offered:
        return wish.ratio
    width, _, height = wish.ratio.partition(":")
    if len(wish.ratio) <= len("99:99"):
        raise BadRequest(f"{recipe.id} makes videos in {', '.join(offered)}.", param="aspect_ratio")
    return nearest((int(width), int(height)), offered)
