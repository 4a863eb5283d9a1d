"""Requests for videos: PPQ's shape (duration, quality, image_url) and OpenAI's (seconds, size, input_reference). Pure.

A wish is one flat object, whatever the upstream; which shape it came in decides how the job is shown to its caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from perquery.dialects import images
from perquery.dialects.forms import Form
from perquery.errors import BadRequest

Shape: TypeAlias = Literal["ppq", "openai"]

SECONDS_MAX: Final = 60
URL_CHARS_MAX: Final = 2_000
SECRET_CHARS_MAX: Final = 200
_OPENAI: Final = frozenset({"seconds", "size", "input_reference"})
_KNOWN: Final = frozenset(
    (
        *_OPENAI,
        *("model", "prompt", "aspect_ratio", "duration", "quality", "resolution", "image_url", "negative_prompt"),
        *("seed", "webhook_url", "webhook_secret", "user"),
    )
)


@dataclass(frozen=True, slots=True)
class VideoWish:
    """What a caller wants filmed. seconds: None where nothing is said; resolution: "720p" or ""; ratio: "16:9" or "".

    image: a URL, http(s) or data. said: further parameters that some model may take. unknown: names that none does.
    """

    model: str
    prompt: str
    shape: Shape
    seconds: int | None = None
    resolution: str = ""
    ratio: str = ""
    image: str = ""
    said: Mapping[str, str | int] | None = None
    unknown: tuple[str, ...] = ()
    webhook_url: str = ""
    webhook_secret: str = ""


def wish_in(form: Form, *, multipart: bool) -> VideoWish:
    """The wish that a body or a form says. OpenAI's SDK sends forms. Raises BadRequest."""
    body = images.with_numbers(form.fields, ("seed",))
    for file in form.files:
        if file.field != "input_reference":
            raise BadRequest(f"There is no file called `{file.field[:60]}` here.", param=file.field[:60])
        body["input_reference"] = images.data_url(file.data)
    return wish(body, "openai" if multipart or body.keys() & _OPENAI else "ppq")


def wish(body: Mapping[str, Any], shape: Shape) -> VideoWish:
    """The wish that a body says. Raises BadRequest."""
    size = images.size_in(body.get("size"))
    ratio = images.ratio_in(body.get("aspect_ratio"))
    said: dict[str, str | int] = {}
    if (text := images.text_in(body, "negative_prompt", 4_000)) is not None:
        said["negative_prompt"] = text
    if (seed := body.get("seed")) is not None:
        said["seed"] = images.whole_in(seed, "seed", 0, 2**31 - 1)
    return VideoWish(
        model=images.required_in(body, "model", images.MODEL_CHARS_MAX),
        prompt=images.required_in(body, "prompt", images.PROMPT_CHARS_MAX),
        shape=shape,
        seconds=_seconds(body),
        resolution=_resolution(body) or (f"{min(size)}p" if size else ""),
        ratio=ratio or (f"{size[0]}:{size[1]}" if size else ""),
        image=_image(body),
        said=said,
        unknown=tuple(sorted(name for name in body.keys() - _KNOWN if body[name] is not None)),
        webhook_url=_webhook(body),
        webhook_secret=images.text_in(body, "webhook_secret", SECRET_CHARS_MAX) or "",
    )


def _seconds(body: Mapping[str, Any]) -> int | None:
    name = "seconds" if body.get("seconds") is not None else "duration"
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.removesuffix("s").isdigit():
        value = int(value.removesuffix("s")[:6])
    return images.whole_in(value, name, 1, SECONDS_MAX)


def _resolution(body: Mapping[str, Any]) -> str:
    """PPQ calls it quality."""
    name = "resolution" if body.get("resolution") is not None else "quality"
    text = images.text_in(body, name, 20)
    return text.strip().lower() if text else ""


def _image(body: Mapping[str, Any]) -> str:
    name = "input_reference" if body.get("input_reference") is not None else "image_url"
    return images.url_in(body[name], name) if body.get(name) else ""


def _webhook(body: Mapping[str, Any]) -> str:
    url = images.text_in(body, "webhook_url", URL_CHARS_MAX) or ""
    if url and not url.startswith(("https://", "http://")):
        raise BadRequest("`webhook_url` must be a http(s) URL.", param="webhook_url")
    return url
