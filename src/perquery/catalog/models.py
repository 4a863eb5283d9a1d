"""A model (what it is, can do, costs, and who serves it) and the catalogue: finding one by name, listing all.

Data and look-ups only, built once by `catalog.build`; it must never do I/O and never guess a price.
`find` is on the way of every request: a known name is one dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from typing import Final, NamedTuple

from perquery.calls import Kind, Price, Route, Unit
from perquery.catalog import names
from perquery.catalog.price import Bound
from perquery.errors import BadRequest, ModelNotFound

# Where models of each kind are called.
ENDPOINTS: Final[Mapping[Kind, str]] = {
    "chat": "/v1/chat/completions",
    "embedding": "/v1/embeddings",
    "rerank": "/v1/rerank",
    "moderation": "/v1/moderations",
    "stt": "/v1/audio/transcriptions",
    "tts": "/v1/audio/speech",
    "image": "/v1/images/generations",
    "video": "/v1/videos",
}


@dataclass(frozen=True, slots=True)
class Model:
    """One model. `routes` can serve it now, in order of preference; `known_routes` is every way there is.

    price: the dearest of the active routes (of all known ones if none is active), before markup; None when none
    has a price. bound: the most a call may cost over `routes`. Tokens and milliseconds are integers. others: what does
    other work under the same name.
    """

    id: str
    name: str
    kind: Kind
    created_at_ms: int
    context_tokens: int
    output_tokens_max: int
    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    supported_parameters: tuple[str, ...]
    refused_parameters: frozenset[str]
    expires_at: date | None
    replaced_by: str | None
    routes: tuple[Route, ...]
    known_routes: tuple[Route, ...]
    aliases: tuple[str, ...]
    description: str
    source: str
    as_of: date
    free: bool
    price: Price
    bound: Bound
    others: tuple[Model, ...] = ()

    @property
    def type(self) -> str:
        """PPQ's word for the kind."""
        return "audio" if self.kind in ("stt", "tts") else self.kind

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0] if "/" in self.id else "perquery"

    def bound_over(self, routes: Sequence[Route]) -> Bound:
        """The most that a call may cost over these of its routes."""
        chosen = {id(route) for route in routes}
        reaches = zip(self.routes, self.bound.reaches, strict=True)
        return Bound(tuple(reach for route, reach in reaches if id(route) in chosen))

    def expired(self, on: date) -> bool:
        return self.expires_at is not None and on >= self.expires_at


class Found(NamedTuple):
    """A name resolved. `online`: the suffix asked for web search. `note_headers` tell the caller what was chosen."""

    model: Model
    requested: str
    note_headers: dict[str, str]
    online: bool
    suffixes: tuple[str, ...]


class Unavailable(NamedTuple):
    """A model that is in the catalogue and cannot be called, and why."""

    model: Model
    reason: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models by id, and every accepted spelling of each. Build it with `catalog.build`."""

    models: Mapping[str, Model]
    by_name: Mapping[str, str] = field(repr=False)
    by_spelling: Mapping[str, str] = field(repr=False)
    as_of: date

    def find(self, name: str, on: date, kind: Kind | None = "chat") -> Found:
        """The model of that kind (None: of any) that `name` means on that day.

        A retired id resolves to its replacement unless that is dearer. Raises ModelNotFound with code
        model_not_found (the nearest names), model_retired (the replacement is dearer or there is none) or
        model_unavailable (no upstream for it is active here); BadRequest for a model of another kind.
        """
        suffixes: tuple[str, ...] = ()
        key = self._key(name)
        if key is None:
            base, suffixes = names.split(name)
            key = self._key(base) or self._by_spelling(base)
            if key is None:
                raise self._unknown(name)
            if "free" in suffixes and not self.models[key].free:
                raise ModelNotFound(
                    f"There is no free variant of {key} here; leave out ':free' to use it at its price."
                )
        model = self.models[key]
        if kind is not None and model.kind != kind:
            model = _doing(kind, model)
        headers = {"x-perquery-model": key}
        if model.expires_at is not None and on >= model.expires_at:
            headers["x-perquery-replaced"] = key
            model = self._replacement(model, on)
            headers["x-perquery-model"] = model.id
        if not model.routes:
            raise ModelNotFound(
                f"{model.id} is in the catalogue, but no upstream for it is active here.",
                code="model_unavailable",
            )
        return Found(model, name, headers, "online" in suffixes, suffixes)

    def find_each(self, names: Sequence[str], on: date) -> list[Found]:
        """The models that these names mean, in order, each once; unknown ones are passed over.

        Raises ModelNotFound, the first name's, where none is left.
        """
        found: dict[str, Found] = {}
        first: ModelNotFound | None = None
        for name in names:
            try:
                each = self.find(name, on)
            except ModelNotFound as error:
                first = first or error
            else:
                found.setdefault(each.model.id, each)
        if first is not None and not found:
            raise first
        return list(found.values())

    def listing(self, on: date, type: str = "chat") -> Iterator[Model]:
        """What can be served on that day, by id; `type` is one type, several with commas, or "all"."""
        for model in self._of(type):
            if model.routes and not model.expired(on):
                yield model

    def unavailable(self, on: date, type: str = "chat") -> Iterator[Unavailable]:
        """What the catalogue knows and cannot serve on that day, each with the reason."""
        for model in self._of(type):
            reason = _reason(model, on)
            if reason is not None:
                yield Unavailable(model, reason)

    def describe(self, name: str, on: date) -> tuple[Model, str | None]:
        """The model of that name, callable or not, and why not. Raises ModelNotFound for an unknown name."""
        key = self._key(name) or self._by_spelling(names.split(name)[0])
        if key is None:
            raise self._unknown(name)
        return self.models[key], _reason(self.models[key], on)

    def _of(self, type: str) -> Iterator[Model]:
        """Those of these types, each name once."""
        wanted = _types(type)
        for model in self.models.values():
            of_type = (each for each in (model, *model.others) if wanted is None or not wanted.isdisjoint(_words(each)))
            yield from islice(of_type, 1)

    def _key(self, name: str) -> str | None:
        return self.by_name.get(name) or self.by_name.get(name.strip().lower())

    def _by_spelling(self, name: str) -> str | None:
        spelt = names.spelling(name)
        return self.by_spelling.get(spelt) or self.by_spelling.get(names.dateless(spelt))

    def _replacement(self, model: Model, on: date) -> Model:
        """The model that takes a retired one's place, through a chain of retirements, and never a dearer one."""
        current, seen = model, {model.id}
        while current.expired(on):
            if current.replaced_by is None or current.replaced_by in seen or current.replaced_by not in self.models:
                raise ModelNotFound(f"{model.id} was retired on {model.expires_at}.", code="model_retired")
            current = self.models[current.replaced_by]
            seen.add(current.id)
        if is_dearer(current, model):
            raise ModelNotFound(
                f"{model.id} was retired on {model.expires_at}. Its successor {current.id} costs more, so it is "
                "not chosen for you: name it to use it.",
                code="model_retired",
            )
        return current

    def _unknown(self, name: str) -> ModelNotFound:
        near = names.nearest(name[:200], (model.id for model in self.models.values() if model.routes))
        hint = f" Nearest: {', '.join(near)}." if near else ""
        return ModelNotFound(f"No model is called {name[:200]!r}.{hint}", param="model", details={"nearest": near})


def _doing(kind: Kind, model: Model) -> Model:
    """What does that work under the model's name. Raises BadRequest where nothing does."""
    for other in model.others:
        if other.kind == kind:
            return other
    raise BadRequest(
        f"{model.id} is a model for other work ({model.kind}): POST {ENDPOINTS[model.kind]}.",
        code="wrong_endpoint",
        param="model",
    )


def _words(model: Model) -> tuple[str, ...]:
    """What a model's kind is called."""
    return model.kind, model.type


def _reason(model: Model, on: date) -> str | None:
    if model.expired(on):
        instead = f"; use {model.replaced_by}" if model.replaced_by else ""
        return f"retired on {model.expires_at}{instead}"
    if not model.routes:
        hosts = ", ".join(sorted({route.provider for route in model.known_routes}))
        return f"needs an upstream that is not active here: {hosts}"
    return None


def _compared(model: Model) -> Iterable[Unit]:
    """The prices by which models are compared."""
    if model.kind == "chat":
        return ("input", "output", "request")
    return {unit for _, prices in model.price.tiers for unit in prices}


def is_dearer(new: Model, old: Model) -> bool:
    """Whether a call of `new` may cost more than the same call of `old`, by the prices listed for both.

    Tiers that start beyond the longest input of the old model are no matter to its callers.
    """
    longest = old.context_tokens - old.output_tokens_max
    for start in {start for price in (new.price, old.price) for start, _ in price.tiers}:
        if start and start > longest:
            continue
        was, now = old.price.at(start), new.price.at(start)
        if any(now.get(unit, 0) > was.get(unit, 0) for unit in _compared(old)):
            return True
    return False


def _types(text: str) -> frozenset[str] | None:
    wanted: Sequence[str] = [part.strip() for part in text.split(",")]
    return None if "all" in wanted else frozenset(wanted)
