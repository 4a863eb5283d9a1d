"""The reviewed overlay: it is sound, every correction has a source, and mistakes in it are told by name."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest

from perquery.calls import Price
from perquery.catalog import Catalog, overlay

HEAD = 'as_of = 2026-11-23\nnot_chat = "embed"\n'


def test_every_correction_has_a_source() -> None:
    data = tomllib.loads(resources.files("perquery.catalog").joinpath("overlay.toml").read_text("utf-8"))
    entries = [*data["rows"], *data["extras"], *data["models"]]
    assert [entry for entry in entries if len(entry["source"]) < 3] == []


def test_no_model_stands_twice() -> None:
    data = tomllib.loads(resources.files("perquery.catalog").joinpath("overlay.toml").read_text("utf-8"))
    ids = [entry["id"] for entry in data["models"]]
    assert len(ids) == len(set(ids))


def test_every_fact_is_about_a_model_that_exists(full: Catalog) -> None:
    assert [id for id in overlay.load().facts if id not in full.models] == []


def test_every_extra_price_reaches_its_route(full: Catalog) -> None:
    routes = {(route.provider, route.model): route for model in full.models.values() for route in model.known_routes}
    for extra in overlay.load().extras:
        assert extra.prices.items() <= routes[extra.host, extra.model].price.at(0).items()


def test_every_alias_names_a_model(full: Catalog) -> None:
    assert [alias for alias, id in overlay.load().aliases.items() if full.by_name[alias.lower()] != id] == []


def test_prices_and_tiers_are_read_exactly() -> None:
    text = HEAD + (
        '[[rows]]\nhost = "h"\nmodel = "m"\nid = "v/m"\nsource = "s"\nprice = { input = "0.15", output = "0.6" }\n'
        'tiers = [{ from = 1000, price = { input = "0.3" } }]\n'
    )
    (row,) = overlay.load(text).rows
    assert row.price == Price(
        ((0, {"input": 150_000, "output": 600_000}), (1_000, {"input": 300_000, "output": 600_000}))
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('[[models]]\nid = "a"\nsource = "s"\nexpires = 2026-01-01', "unknown field expires"),
        ('[[models]]\nid = "a"', "source"),
        ('[hosts.h]\nvendour = "x"', "unknown field vendour"),
        ('[[rows]]\nhost = "h"\nmodel = "m"\nid = "v/m"\nsource = "s"', "no price"),
        (
            '[[rows]]\nhost = "h"\nmodel = "m"\nid = "v/m"\nsource = "s"\nprice = { input = 0.15, output = 0.6 }',
            "as strings",
        ),
    ],
)
def test_mistakes_are_told(entry: str, message: str) -> None:
    with pytest.raises(overlay.OverlayError, match=message):
        overlay.load(HEAD + entry)
