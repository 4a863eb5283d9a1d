"""A wish in a model's words: what is said, what is dropped and named, what is refused; and the most that it counts."""

from __future__ import annotations

from typing import Any, Final

import pytest

from perquery.catalog import recipes
from perquery.catalog.recipes import Recipe
from perquery.dialects import images
from perquery.errors import BadRequest
from perquery.providers.wording import counted, most, nearest, sized, words

FLUX: Final = recipes.known()["fal", "fal-ai/flux/schnell"]
GPT: Final = recipes.known()["openai", "gpt-image-1.5"]
GEMINI: Final = recipes.known()["google", "gemini-3.1-flash-image"]
XAI: Final = recipes.known()["xai", "grok-imagine-image"]
PICTURE: Final = "https://example.org/cat.png"


def wish(**said: Any) -> images.Wish:
    return images.wish({"model": "m", "prompt": "a cat"} | said)


@pytest.mark.parametrize(
    ("recipe", "said", "fields"),
    [
        (FLUX, {}, {"image_size": {"width": 1_024, "height": 1_024}}),
        (FLUX, {"size": "800x600"}, {"image_size": {"width": 800, "height": 600}}),
        (FLUX, {"aspect_ratio": "16:9"}, {"image_size": {"width": 1_360, "height": 768}}),
        (FLUX, {"n": 2, "seed": 5}, {"image_size": {"width": 1_024, "height": 1_024}, "num_images": 2, "seed": 5}),
        (GPT, {"quality": "HIGH"}, {"quality": "high"}),
        (GPT, {"aspect_ratio": "2:3"}, {"quality": "auto", "size": "1024x1536"}),
        (GPT, {"size": "1536x1024"}, {"quality": "auto", "size": "1536x1024"}),
        (GEMINI, {"size": "1920x1080", "resolution": "2k"}, {"aspect_ratio": "16:9", "imageSize": "2K"}),
        (GEMINI, {}, {}),
        (XAI, {"n": 3, "aspect_ratio": "9:16"}, {"n": 3, "aspect_ratio": "9:16"}),
    ],
)
def test_what_is_said(recipe: Recipe, said: dict[str, Any], fields: dict[str, Any]) -> None:
    assert words(recipe, wish(**said)).fields == fields


@pytest.mark.parametrize(
    ("recipe", "said", "dropped"),
    [
        (FLUX, {"quality": "low", "shoes": 1, "mask": PICTURE}, ["mask", "quality", "shoes"]),
        (XAI, {"seed": 3, "resolution": "2K"}, ["resolution", "seed"]),
        (GPT, {"seed": 3}, ["seed"]),
    ],
)
def test_what_is_dropped_is_named(recipe: Recipe, said: dict[str, Any], dropped: list[str]) -> None:
    assert words(recipe, wish(**said)).dropped == dropped


@pytest.mark.parametrize(
    ("recipe", "said", "says"),
    [
        (FLUX, {"n": 5}, "at most 4"),
        (GEMINI, {"n": 2}, "at most 1"),
        (FLUX, {"image": PICTURE}, "cannot start from an image"),
        (GPT, {"quality": "ultra"}, "low, medium, high, auto"),
        (XAI, {"aspect_ratio": "5:1"}, "16:9"),
    ],
)
def test_what_would_be_something_else_is_refused(recipe: Recipe, said: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        words(recipe, wish(**said))


@pytest.mark.parametrize(
    ("recipe", "said", "counts"),
    [
        (FLUX, {"n": 3}, {"megapixel": 3}),
        (FLUX, {"size": "1024x1025"}, {"megapixel": 2}),
        (XAI, {"n": 4}, {"image": 4}),
    ],
)
def test_the_most_where_it_is_counted_by_the_piece(
    recipe: Recipe, said: dict[str, Any], counts: dict[str, int]
) -> None:
    assert most(recipe, wish(**said)) == counts


@pytest.mark.parametrize("recipe", [GPT, GEMINI], ids=lambda recipe: recipe.model)
def test_the_most_where_it_is_counted_by_the_token(recipe: Recipe) -> None:
    one = most(recipe, wish())
    assert one["image_output"] == (recipe.tokens_max.get("auto") or max(recipe.tokens_max.values()))
    assert one["input"] >= len("a cat")
    shown = most(recipe, wish(image=PICTURE))
    assert one["image_input"] == 0 < shown["image_input"]


def test_what_was_drawn_counts_by_its_own_size() -> None:
    assert counted(FLUX, wish(n=2), [(2_048, 1_024), None]) == {"megapixel": 3}


@pytest.mark.parametrize(
    ("ratio", "resolution", "size"),
    [
        ("1:1", "", (1_024, 1_024)),
        ("1:1", "2K", (2_048, 2_048)),
        ("9:16", "", (752, 1_360)),
        ("99:1", "", (9_504, 96)),
    ],
)
def test_a_size_in_a_ratio_is_within_its_area(ratio: str, resolution: str, size: tuple[int, int]) -> None:
    width, height = sized(ratio, resolution)
    assert width % 16 == height % 16 == 0
    assert width * height <= (4 if resolution == "2K" else 1) * 2**20
    assert (width, height) == size


@pytest.mark.parametrize(
    ("size", "ratio"), [((1_920, 1_080), "16:9"), ((1_000, 999), "1:1"), ((10, 1_000), "9:16"), ((640, 480), "4:3")]
)
def test_the_nearest_ratio(size: tuple[int, int], ratio: str) -> None:
    assert nearest(size, ("1:1", "16:9", "9:16", "4:3", "3:4")) == ratio
