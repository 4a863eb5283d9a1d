"""Recipes: the package's own are whole and priced, and what is written wrongly is refused by name."""

from __future__ import annotations

from typing import Final

import pytest

from perquery.catalog import recipes
from perquery.catalog.overlay import OverlayError
from perquery.providers.hosts import HOSTS

GOOD: Final = """
as_of = 2026-11-29
[schemas.plain]
size = "text"
fields = { n = "n" }
image = "images"
[[models]]
id = "vendor/one"
name = "One"
host = "openai"
schema = "plain"
model = "one"
edit = "one"
price = { input = "5", image = "0.04" }
source = "a page"
"""


def test_enough_are_sold() -> None:
    sold = {making: {each.id for each in recipes.load(making)} for making in recipes.FILES}
    assert len(sold["image"]) >= 40 and len(sold["video"]) >= 10


@pytest.mark.parametrize("making", recipes.FILES)
def test_each_has_somebody_who_makes_it(making: recipes.Making) -> None:
    for each in recipes.load(making):
        host = HOSTS[each.host]
        assert "image" in host.trades if making == "image" else host.studio


def test_each_video_has_lengths_and_a_price_by_the_second() -> None:
    for each in recipes.load("video"):
        assert each.schema.seconds and each.schema.ratios and each.schema.duration
        assert any(unit.startswith("second") for unit in each.price.at(0))


def test_prices_are_by_the_million_tokens_or_by_the_piece() -> None:
    (one,) = recipes.load("image", GOOD)
    assert one.price.at(0) == {"input": 5_000_000, "image": 40_000_000_000}
    assert (one.asked_as(with_image=False), one.route_model, one.schema.n_max) == ("one", "one", 4)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('schema = "plain"', 'schema = "other"', "there is no schema other"),
        ('price = { input = "5", image = "0.04" }', "price = {}", "it has no price"),
        ('image = "0.04"', "image = 0.04", "write prices as strings"),
        ('image = "0.04"', 'image = "0"', "image costs nothing"),
        ('source = "a page"', 'source = ""', "a source"),
        ('model = "one"\nedit = "one"', "", "it needs a model or an edit"),
        ('image = "images"\n', "", "no field for an image"),
        ('name = "One"', 'name = "One"\ncolour = "red"', "unknown field colour"),
        ('size = "text"', 'size = "weight"', "an unknown size"),
        ('size = "text"', 'size = "text"\nshape = "x"', "unknown field shape"),
    ],
)
def test_what_is_written_wrongly_is_refused(before: str, after: str, says: str) -> None:
    assert before in GOOD
    with pytest.raises(OverlayError, match=says):
        recipes.load("image", GOOD.replace(before, after))


def test_a_route_stands_once() -> None:
    (one,) = recipes.load("image", GOOD)
    with pytest.raises(OverlayError, match="openai/one stands twice"):
        recipes.by_route(one, recipes.load("image", GOOD)[0])
