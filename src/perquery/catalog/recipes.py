"""How each image and video model is asked, as data: the reviewed overlay_images.toml and overlay_videos.toml.

A recipe says at which upstream, under which name and in which words a model is asked, and at what price; a hundred
models of one host need one adapter and a hundred recipes. It must never hold a price without a source and a date.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from functools import lru_cache
from importlib import resources
from typing import Any, Final, Literal, TypeAlias

from perquery import money
from perquery.calls import Price, Unit
from perquery.catalog.overlay import Fact, Overlay, OverlayError, Row

Making: TypeAlias = Literal["image", "video"]
FILES: Final[Mapping[Making, str]] = {"image": "overlay_images.toml", "video": "overlay_videos.toml"}
_TOKENS: Final = frozenset({"input", "cache_read", "image_input", "image_output", "output"})  # priced per million
_SIZES: Final = frozenset({"", "image_size", "aspect_ratio", "text"})
_DURATIONS: Final = frozenset({"", "text", "s", "number"})


@dataclass(frozen=True, slots=True)
class Schema:
    """In which words a family of models is asked.

    size: how an image's format is said. fields: our parameter → the upstream's; values: what it takes of ours, where
    it does not take all; defaults: what stands for a parameter that the caller leaves out; fixed: what is always said.
    image: the upstream's field for the caller's image, a list where its name ends in "s"; "": it takes none.
    duration: how a video's length is said; seconds, resolutions, ratios: what it takes, the first is the usual one.
    """

    size: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    image: str = ""
    n_max: int = 4
    duration: str = ""
    seconds: tuple[int, ...] = ()
    resolutions: tuple[str, ...] = ()
    ratios: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """One model at one upstream. model: its name there for a request without an image, edit: for one with an image;
    one of them may be "". tokens_max: output tokens of one image at most, by quality ("" where it has none), for
    those that are paid by the token. megapixels_included: in the price of an image.
    """

    making: Making
    id: str
    name: str
    host: str
    schema: Schema
    price: Price
    source: str
    as_of: date
    model: str = ""
    edit: str = ""
    tokens_max: Mapping[str, int] = field(default_factory=dict)
    megapixels_included: int = 0
    aliases: tuple[str, ...] = ()
    expires_at: date | None = None
    replaced_by: str | None = None

    @property
    def route_model(self) -> str:
        """What the route is called by, whether an image is sent or not."""
        return self.model or self.edit

    def asked_as(self, *, with_image: bool) -> str:
        """The upstream's name for such a request; "" where it takes none."""
        return self.edit if with_image else self.model


def load(making: Making, text: str | None = None) -> tuple[Recipe, ...]:
    """The package's recipes, or those in `text`. Raises OverlayError."""
    if text is None:
        text = resources.files("perquery.catalog").joinpath(FILES[making]).read_text("utf-8")
    data = tomllib.loads(text)
    schemas = {name: _schema(name, entry) for name, entry in data["schemas"].items()}
    return tuple(_recipe(making, entry, schemas, data["as_of"]) for entry in data["models"])


@lru_cache
def known() -> Mapping[tuple[str, str], Recipe]:
    """The package's recipes by upstream and name of the route."""
    return by_route(*load("image"), *load("video"))


@lru_cache
def also_called() -> Mapping[str, str]:
    """Ids of chat models that draw → the models here that are the same."""
    text = resources.files("perquery.catalog").joinpath(FILES["image"]).read_text("utf-8")
    found: dict[str, str] = tomllib.loads(text)["also_called"]
    return found


def laid(facts: Overlay, given: Iterable[Recipe] | None = None) -> Overlay:
    """The overlay with what the recipes (None: the package's) make: their routes, prices and facts."""
    made = tuple(known().values() if given is None else given)
    rows = tuple(
        Row(each.host, each.route_model, each.id, each.price, each.source, kind=each.making, as_of=each.as_of)
        for each in made
    )
    told = dict(facts.facts)
    for each in made:
        told.setdefault(each.id, _fact(each, [one for one in made if one.id == each.id]))
    return replace(facts, rows=facts.rows + rows, facts=told)


def _fact(first: Recipe, same: Sequence[Recipe]) -> Fact:
    """What is known of a model: of its first recipe, and what any of them takes."""
    from_image, from_text = any(each.edit for each in same), any(each.model for each in same)
    parameters = {name for each in same for name in each.schema.fields} | {"prompt"}
    parameters |= {"duration", "aspect_ratio"} if first.making == "video" else {"size", "aspect_ratio"}
    parameters |= {"image_url"} if from_image else set()
    parameters |= {"quality"} if any(each.schema.resolutions for each in same) else set()
    return Fact(
        first.id,
        first.source,
        name=first.name,
        input_modalities=(*(["text"] if from_text or from_image else []), *(["image"] if from_image else [])),
        output_modalities=(first.making,),
        expires_at=first.expires_at,
        replaced_by=first.replaced_by,
        aliases=tuple(dict.fromkeys((*(alias for each in same for alias in each.aliases), *_names(first.id, same)))),
        supported_parameters=tuple(sorted(parameters)),
        as_of=first.as_of,
    )


def _names(id: str, same: Sequence[Recipe]) -> Iterator[str]:
    """What a model is called without its vendor, and by its upstreams."""
    yield id.rpartition("/")[2]
    yield from (each.route_model for each in same)


def by_route(*recipes: Recipe) -> Mapping[tuple[str, str], Recipe]:
    """Recipes by upstream and name of the route. Raises OverlayError where two have the same."""
    found: dict[tuple[str, str], Recipe] = {}
    for recipe in recipes:
        if found.setdefault((recipe.host, recipe.route_model), recipe) is not recipe:
            raise OverlayError(f"{recipe.id}: {recipe.host}/{recipe.route_model} stands twice")
    return found


def _schema(name: str, entry: Mapping[str, Any]) -> Schema:
    _known(Schema, entry, f"schemas.{name}")
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    given["values"] = {key: tuple(value) for key, value in entry.get("values", {}).items()}
    schema = Schema(**given)
    if schema.size not in _SIZES or schema.duration not in _DURATIONS:
        raise OverlayError(f"schemas.{name}: an unknown size or duration")
    return schema


def _recipe(making: Making, entry: Mapping[str, Any], schemas: Mapping[str, Schema], as_of: date) -> Recipe:
    where = f"{making}s: {entry.get('id')}"
    _known(Recipe, entry, where)
    values = {"as_of": as_of, **entry}
    if values["schema"] not in schemas:
        raise OverlayError(f"{where}: there is no schema {values['schema']}")
    values["schema"] = schemas[values["schema"]]
    values["price"] = Price(((0, dict(_prices(entry["price"], where))),), f"overlay {values['as_of']}")
    values["aliases"] = tuple(entry.get("aliases", ()))
    recipe = Recipe(making=making, **values)
    if not recipe.route_model or not recipe.source:
        raise OverlayError(f"{where}: it needs a model or an edit, and a source")
    if recipe.edit and not recipe.schema.image:
        raise OverlayError(f"{where}: its schema says no field for an image")
    return recipe


def _prices(entry: Mapping[str, str], where: str) -> Iterator[tuple[Unit, int]]:
    """USD per million tokens, else per unit → pico-USD per unit; every one above 0."""
    if not entry:
        raise OverlayError(f"{where}: it has no price")
    unit: Any
    for unit, usd in entry.items():
        if not isinstance(usd, str):
            raise OverlayError(f"{where}: write prices as strings, so that they stay exact")
        pico = money.pico_per_unit(usd) if unit in _TOKENS else money.scaled(usd, 12)
        if pico <= 0:
            raise OverlayError(f"{where}: {unit} costs nothing")
        yield unit, pico


def _known(kind: type[Any], entry: Mapping[str, Any], where: str) -> None:
    known = {each.name for each in fields(kind)}
    if unknown := entry.keys() - known:
        raise OverlayError(f"{where}: unknown field {sorted(unknown)[0]}")
