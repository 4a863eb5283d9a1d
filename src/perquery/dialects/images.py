"""Requests for images: OpenAI's shape with PPQ's additions, as JSON or as a form, and the answer. Pure.

A wish is one flat object, whatever the upstream: what a model cannot do with it is decided where it is put into that
model's words. It must never fetch what a URL names.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from perquery import money
from perquery.calls import Figures
from perquery.dialects.forms import Form
from perquery.errors import BadRequest
from perquery.media import IMAGE_TOKENS_MAX

Wanted: TypeAlias = Literal["", "url", "b64_json"]

PROMPT_CHARS_MAX: Final = 32_000
IMAGES_MAX: Final = 16
SIDE_MAX: Final = 8_192
MODEL_CHARS_MAX: Final = 200
_SIZE: Final = re.compile(r"([1-9][0-9]{1,4})[xX×]([1-9][0-9]{1,4})")
_RATIO: Final = re.compile(r"[1-9][0-9]?:[1-9][0-9]?")
_TEXTS: Final = ("quality", "negative_prompt", "output_format", "background", "moderation", "input_fidelity")
_NUMBERS: Final = ("seed", "output_compression")
# Saying them asks for nothing that we could do: who calls, and how our own answer is to be sent.
_SILENT: Final = frozenset({"model", "prompt", "response_format", "user", "size", "aspect_ratio", "resolution", "n"})
_IMAGES: Final = ("image", "images", "image_url", "image_urls")
_MAGIC: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants drawn. size: width and height in pixels; ratio: "16:9"; resolution: "1K", "2K" or "4K".

    images, mask: URLs, http(s) or data. said: further parameters that some model may take. unknown: names that none
    does. wanted: how the images are to come back, "" as it suits.
    """

    model: str
    prompt: str
    n: int = 1
    size: tuple[int, int] | None = None
    ratio: str = ""
    resolution: str = ""
    images: tuple[str, ...] = ()
    mask: str = ""
    said: Mapping[str, str | int] | None = None
    unknown: tuple[str, ...] = ()
    wanted: Wanted = ""

    @property
    def shown_tokens_max(self) -> int:
        """What its images count at most, where they are paid by the token."""
        return (len(self.images) + bool(self.mask)) * IMAGE_TOKENS_MAX


def wish_in(form: Form) -> Wish:
    """The wish that a body or a form says, with its files. Raises BadRequest."""
    body = with_numbers(form.fields, ("n", *_NUMBERS))
    given: list[str] = []
    for file in form.files:
        if file.field == "mask":
            body["mask"] = data_url(file.data)
        elif file.field in _IMAGES:
            given.append(data_url(file.data))
        else:
            raise BadRequest(f"There is no file called `{file.field[:60]}` here.", param=file.field[:60])
    return wish(body | ({"images": given} if given else {}))


def with_numbers(fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A form's fields are texts: the numbers among them read."""
    body = dict(fields)
    for name in names:
        text = body.get(name)
        if isinstance(text, str) and text.isascii() and text.isdigit():
            body[name] = int(text[:20])
    return body


def wish(body: Mapping[str, Any]) -> Wish:
    """The wish that a body says. Raises BadRequest."""
    if body.get("stream") is True:
        raise BadRequest("Images are not streamed: leave out `stream`.", param="stream", code="unsupported_parameter")
    said: dict[str, str | int] = {}
    for name in _TEXTS:
        if (text := text_in(body, name, 4_000)) is not None:
            said[name] = text
    for name in _NUMBERS:
        if (value := body.get(name)) is not None:
            said[name] = whole_in(value, name, 0, 2**31 - 1)
    known = {*_SILENT, *_TEXTS, *_NUMBERS, *_IMAGES, "mask", "stream"}
    return Wish(
        model=required_in(body, "model", MODEL_CHARS_MAX),
        prompt=required_in(body, "prompt", PROMPT_CHARS_MAX),
        n=whole_in(body.get("n") or 1, "n", 1, 10),
        size=size_in(body.get("size")),
        ratio=ratio_in(body.get("aspect_ratio")),
        resolution=_one_of(body, "resolution", ("1K", "2K", "4K")),
        images=_images(body),
        mask=url_in(body["mask"], "mask") if body.get("mask") else "",
        said=said,
        unknown=tuple(sorted(name for name in body.keys() - known if body[name] is not None)),
        wanted=_wanted(body.get("response_format")),
    )


def rendered(answer: Mapping[str, Any], figures: Figures, model: str, created_s: int) -> bytes:
    """The answer as PPQ and OpenAI have it: the images, what they cost, the upstream's counts where it gives some."""
    body: dict[str, Any] = {"created": created_s, "model": model, "cost": figures.cost["cost"], "data": answer["data"]}
    if figures.upstream is not None:
        body["usage"] = figures.upstream
    return money.json(body | {"cost_details": figures.cost["cost_details"]})


def data_url(data: bytes) -> str:
    """Raises BadRequest for what is no image by its first bytes."""
    kind = kind_of(data)
    if kind is None:
        raise BadRequest("The file is no PNG, JPEG, WebP or GIF image.", param="image", code="unsupported_image")
    return f"data:{kind};base64,{b64encode(data).decode()}"


def kind_of(data: bytes) -> str | None:
    """An image's type, by its first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def required_in(body: Mapping[str, Any], name: str, most: int) -> str:
    text = text_in(body, name, most)
    if not text or not text.strip():
        raise BadRequest(f"`{name}` must be a text that is not empty.", param=name)
    return text


def text_in(body: Mapping[str, Any], name: str, most: int) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest(f"`{name}` must be a text.", param=name)
    if len(value) > most:
        raise BadRequest(f"`{name}` has more than {most} characters.", param=name)
    return value


def whole_in(value: Any, name: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadRequest(f"`{name}` must be a whole number from {least} to {most}.", param=name)
    return value


def size_in(value: Any) -> tuple[int, int] | None:
    if value in (None, "", "auto"):
        return None
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None or max(int(found[1]), int(found[2])) > SIDE_MAX:
        raise BadRequest(f'`size` must be "auto" or like "1024x1024", at most {SIDE_MAX} a side.', param="size")
    return int(found[1]), int(found[2])


def ratio_in(value: Any) -> str:
    if value in (None, "", "auto"):
        return ""
    if not isinstance(value, str) or not _RATIO.fullmatch(value):
        raise BadRequest('`aspect_ratio` must be like "16:9".', param="aspect_ratio")
    return value


def _one_of(body: Mapping[str, Any], name: str, offered: tuple[str, ...]) -> str:
    value = body.get(name)
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or value.upper() not in offered:
        raise BadRequest(f"`{name}` must be one of {', '.join(offered)}.", param=name)
    return value.upper()


def _images(body: Mapping[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    for name in _IMAGES:
        given = body.get(name)
        for one in given if isinstance(given, list) else [given]:
            if one is not None:
                found.append(url_in(one, name))
    if len(found) > IMAGES_MAX:
        raise BadRequest(f"At most {IMAGES_MAX} images.", param="image")
    return tuple(found)


def url_in(value: Any, name: str) -> str:
    """A URL as such, or as OpenAI's objects hold it."""
    if isinstance(value, dict):
        if value.get("file_id"):
            raise BadRequest(
                "Files are not kept here: send the image itself.", param=name, code="unsupported_parameter"
            )
        value = value.get("image_url") or value.get("url")
        value = value.get("url") if isinstance(value, dict) else value
    if not isinstance(value, str) or not value.startswith(("https://", "http://", "data:image/")):
        raise BadRequest(f"`{name}` must be a http(s) URL or a data URL of an image.", param=name)
    return value


def _wanted(value: Any) -> Wanted:
    match value:
        case None | "":
            return ""
        case "url":
            return "url"
        case "b64_json":
            return "b64_json"
    raise BadRequest("`response_format` must be url or b64_json.", param="response_format")
