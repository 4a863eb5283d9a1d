"""A wish for images put into one model's words, and the most that it may count there. Pure.

What the model does not take is dropped and named; what it takes otherwise (a number, a format, a quality that it does
not offer) is refused, for the caller would get and pay something else. It must never decide money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, Final

from perquery.calls import Unit
from perquery.catalog.recipes import Recipe
from perquery.dialects.images import Wish
from perquery.errors import BadRequest

MEGAPIXEL: Final = 2**20
_AREAS: Final[Mapping[str, int]] = {"": MEGAPIXEL, "1K": MEGAPIXEL, "2K": 4 * MEGAPIXEL, "4K": 16 * MEGAPIXEL}
_STEP: Final = 16  # pixels that sides are multiples of
_PROMPT_TOKENS: Final = 64  # what a vendor puts around a prompt


@dataclass(slots=True)
class Words:
    """model: the upstream's name for such a request. fields: what is said, without prompt and images.

    size: in pixels, where the model is told one. dropped: our parameters that it does not take.
    """

    model: str
    fields: dict[str, Any]
    size: tuple[int, int] | None
    dropped: list[str]


def words(recipe: Recipe, wish: Wish) -> Words:
    """Raises BadRequest for what this model cannot do."""
    schema = recipe.schema
    model = recipe.asked_as(with_image=bool(wish.images))
    if not model:
        without = "cannot start from an image: leave out" if wish.images else "needs an image to start from: send"
        raise BadRequest(f"{recipe.id} {without} `image`.", param="image", code="unsupported_parameter")
    if wish.n > schema.n_max or (wish.n > 1 and "n" not in schema.fields):
        most = schema.n_max if "n" in schema.fields else 1
        raise BadRequest(f"{recipe.id} makes at most {most} image(s) a request.", param="n")
    said = dict(schema.defaults) | dict(wish.said or {})
    said |= {"resolution": wish.resolution} if wish.resolution else {}
    said |= {"n": wish.n} if wish.n > 1 else {}
    fields, dropped = dict(schema.fixed), list(wish.unknown)
    for name, value in said.items():
        if (theirs := schema.fields.get(name)) is not None:
            fields[theirs] = _offered(recipe, name, value)
        elif name != "resolution" or schema.size != "image_size":
            dropped.append(name)
    if wish.mask and recipe.host != "openai":
        dropped.append("mask")
    if len(wish.images) > 1 and not schema.image.endswith("s"):
        raise BadRequest(f"{recipe.id} takes one image.", param="image")
    return Words(model, fields, _format(recipe, wish, fields, dropped), sorted(set(dropped)))


def most(recipe: Recipe, wish: Wish) -> dict[Unit, int]:
    """The most that the wish may count, in the units that its price names. Raises BadRequest as `words`."""
    asked = words(recipe, wish)
    if recipe.tokens_max:
        quality = str(asked.fields.get("quality", ""))
        given = len(wish.prompt.encode("utf-8", "surrogatepass")) + _PROMPT_TOKENS
        drawn = recipe.tokens_max.get(quality) or max(recipe.tokens_max.values())
        return {"input": given, "image_input": wish.shown_tokens_max, "image_output": wish.n * drawn}
    return counted(recipe, wish, [asked.size] * wish.n)


def counted(recipe: Recipe, wish: Wish, sizes: list[tuple[int, int] | None]) -> dict[Unit, int]:
    """What images of these sizes count, where they are not paid by the token. A size that nobody says is the one that
    was asked for, or a megapixel.
    """
    prices = recipe.price.at(0)
    counts: dict[Unit, int] = {}
    resolution = wish.resolution or recipe.schema.defaults.get("resolution", "")
    by_resolution: Mapping[str, Unit] = {"2K": "image_2k", "4K": "image_4k"}
    unit = by_resolution.get(resolution, "image")
    if "image" in prices:
        counts[unit if unit in prices else "image"] = len(sizes)
    if "megapixel" in prices:
        asked = words(recipe, wish).size
        counts["megapixel"] = sum(_megapixels(size or asked, recipe.megapixels_included) for size in sizes)
    return counts


def _megapixels(size: tuple[int, int] | None, included: int) -> int:
    """Begun megapixels beyond those that are included."""
    width, height = size or (1_024, 1_024)
    return max(0, -(-width * height // MEGAPIXEL) - included)


def _offered(recipe: Recipe, name: str, value: Any) -> Any:
    offered = recipe.schema.values.get(name)
    if offered is None or value in offered:
        return value
    near = {text.lower(): text for text in offered}
    if isinstance(value, str) and value.lower() in near:
        return near[value.lower()]
    raise BadRequest(f"{recipe.id} takes as `{name}`: {', '.join(offered)}.", param=name)


def _format(recipe: Recipe, wish: Wish, fields: dict[str, Any], dropped: list[str]) -> tuple[int, int] | None:
    """Say the format as the model has it; the size that was told, where one was."""
    match recipe.schema.size:
        case "image_size":
            width, height = wish.size or sized(wish.ratio or "1:1", wish.resolution)
            fields["image_size"] = {"width": width, "height": height}
            return width, height
        case "text":
            size = wish.size or _usual(wish.ratio)
            fields |= {"size": f"{size[0]}x{size[1]}"} if size else {}
            return size
        case "aspect_ratio":
            offered = recipe.schema.values["aspect_ratio"]
            if wish.ratio and wish.ratio not in offered:
                raise BadRequest(f"{recipe.id} takes as `aspect_ratio`: {', '.join(offered)}.", param="aspect_ratio")
            if ratio := wish.ratio or (nearest(wish.size, offered) if wish.size else ""):
                fields["aspect_ratio"] = ratio
        case _:
            dropped += ["size"] * bool(wish.size) + ["aspect_ratio"] * bool(wish.ratio)
    return None


def sized(ratio: str, resolution: str = "") -> tuple[int, int]:
    """Width and height in that ratio, of at most the resolution's area: "16:9" is 1360 × 768."""
    wide, _, high = ratio.partition(":")
    across, down = int(wide), int(high)
    area = _AREAS[resolution]
    height = isqrt(area * down // across) // _STEP * _STEP
    width = height * across // down // _STEP * _STEP
    return max(width, _STEP), max(height, _STEP)


def nearest(size: tuple[int, int], offered: tuple[str, ...]) -> str:
    """The ratio that is nearest to the size's, by how much of the larger one it is."""
    width, height = size

    def parts(ratio: str) -> tuple[int, int]:
        """Smaller and larger of the two, put on one denominator."""
        wide, _, high = ratio.partition(":")
        ours, theirs = width * int(high), height * int(wide)
        return min(ours, theirs), max(ours, theirs)

    return max(offered, key=lambda ratio: parts(ratio)[0] * 10**6 // parts(ratio)[1])


def _usual(ratio: str) -> tuple[int, int] | None:
    """A size that every GPT image model draws."""
    if not ratio:
        return None
    wide, _, high = ratio.partition(":")
    if int(wide) == int(high):
        return 1_024, 1_024
    return (1_536, 1_024) if int(wide) > int(high) else (1_024, 1_536)
