"""The catalogue put together: price table + overlay + settings → models with their routes.

Owns the order of routes, markups, the operator's own models and what the sandbox serves. It reads the package's
own data (and a refreshed price file, where there is one) and must never reach for the network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, TypeAlias

from perquery import config, money
from perquery.calls import Kind, Price, Route, Unit
from perquery.catalog import genai, names, offers, overlay, recipes, refresh
from perquery.catalog.facts import CONTEXT_TOKENS, MODALITIES, OUTPUT_TOKENS_MAX, Facts, created_ms, facts_of
from perquery.catalog.models import Catalog, Model
from perquery.catalog.offers import Offer
from perquery.catalog.price import bound, dearest

ExtraRoutes: TypeAlias = Callable[[str], Iterable[Route]]
LOCAL_HOST = "local"
LOCAL_MODEL = "smollm2-135m-instruct"
LOCAL_ID = f"{LOCAL_HOST}/{LOCAL_MODEL}"
# Who answers in the sandbox for all models of a kind: (host, model there). Kinds without one are not to be had there.
STAND_INS: Final[Mapping[Kind, tuple[str, str]]] = {
    "chat": (LOCAL_HOST, LOCAL_MODEL),
    "stt": ("local-whisper", "whisper-tiny.en"),
    "tts": ("local-espeak", "espeak-ng"),
    "embedding": ("local-minilm", "all-minilm-l6-v2"),
}
LOCAL_HOSTS: Final = frozenset(host for host, _ in STAND_INS.values())


@dataclass(frozen=True, slots=True)
class _Context:
    """What every model is built from."""

    settings: config.Settings
    active: frozenset[str]
    overlay: overlay.Overlay
    listed: Mapping[tuple[str, str], Offer]  # by host and model
    markups: Mapping[str, money.Ratio]
    house_markup: money.Ratio
    extra_routes: ExtraRoutes | None

    def markup(self, provider: str, setting: config.ModelSetting | None) -> money.Ratio:
        """The markup of the model, else of the provider, else of the house."""
        if setting is not None and setting.markup is not None:
            return _ratio(setting.markup, f"models.{setting.id}")
        return self.markups.get(provider, self.house_markup)


def _ratio(markup: Decimal, where: str) -> money.Ratio:
    try:
        return money.ratio(markup)
    except ValueError as error:
        raise config.ConfigError(f"{where}: markup: {error}") from error


def build(
    settings: config.Settings,
    active: Collection[str],
    *,
    extra_routes: ExtraRoutes | None = None,
    today: date,
    facts: overlay.Overlay | None = None,
) -> Catalog:
    """The catalogue for these settings, with the upstreams named in `active` callable.

    extra_routes: model id → further routes to it, callable now, after the others. today: prices are the dearest
    that may apply on that day. Raises config.ConfigError for a model of the settings that cannot be priced, and
    ValueError for a damaged overlay or refreshed price file.
    """
    facts = facts or recipes.laid(overlay.load())
    tables = {table for host in facts.hosts.values() for table in host.tables}
    records = [record for record in genai.records() if record["id"] in tables]
    rows, refreshed_on = refresh.refreshed(settings.data, genai.rows(records, today))
    version = f"genai-prices {genai.version()}" + (f", refreshed {refreshed_on}" if refreshed_on else "")
    by_id: dict[str, list[Offer]] = {}
    for offer in offers.gather(rows, facts, version):
        by_id.setdefault(offer.id, []).append(offer)
    listed = {(offer.host, offer.model): offer for given in by_id.values() for offer in given}
    index = _index(by_id, facts)
    markups = {
        row.name: _ratio(row.markup, f"providers.{row.name}") for row in settings.providers if row.markup is not None
    }
    house = _ratio(settings.markup, "settings")
    context = _Context(settings, frozenset(active), facts, listed, markups, house, extra_routes)
    own, beside = _own(settings, by_id, index)
    known = {id: facts_of(id, facts, _kind(by_id.get(id, ()), own.get(id))) for id in sorted({*by_id, *own})}
    aliases = {id: _aliases(by_id.get(id, []), own.get(id), each) for id, each in known.items()}
    for id in own:
        index.add(id, id, wins=True)
    for id, given in aliases.items():
        for alias in given:
            index.add(alias, id, wins=id in own)
    models = {
        id: _model(
            id,
            by_id.get(id, []),
            own.get(id),
            each,
            tuple(alias for alias in aliases[id] if index.by_name[alias.lower()] == id),
            context,
            tuple(_model(id, [], other, _plain(other), (), context) for other in beside.get(id, ())),
        )
        for id, each in known.items()
    }
    return Catalog(models, index.by_name, index.by_spelling, facts.as_of)


def _own(
    settings: config.Settings, by_id: Mapping[str, list[Offer]], index: _Index
) -> tuple[dict[str, config.ModelSetting], dict[str, list[config.ModelSetting]]]:
    """The settings' models by id; and those that do other work under the name of another."""
    own: dict[str, config.ModelSetting] = {}
    beside: dict[str, list[config.ModelSetting]] = {}
    for each in settings.models:
        id = _own_id(each, by_id, index)
        first = own[id].kind if id in own else by_id[id][0].kind if id in by_id else each.kind
        if each.kind != first and "kind" in each.model_fields_set:
            beside.setdefault(id, []).append(each)
        else:
            own[id] = each
    return own, beside


def _plain(setting: config.ModelSetting) -> Facts:
    """What is known of a model that is the settings' alone."""
    return Facts(*MODALITIES[setting.kind], kind=setting.kind)


def _kind(given: Sequence[Offer], setting: config.ModelSetting | None) -> Kind:
    if given:
        return given[0].kind
    return setting.kind if setting is not None else "chat"


def _own_id(setting: config.ModelSetting, by_id: Mapping[str, list[Offer]], index: _Index) -> str:
    """The id that a model of the settings is about: its own where it names routes, else the one that it means."""
    if setting.id in by_id or setting.routes:
        return setting.id
    return index.by_name.get(setting.id.lower(), setting.id)


def _model(
    id: str,
    given: list[Offer],
    setting: config.ModelSetting | None,
    facts: Facts,
    aliases: tuple[str, ...],
    context: _Context,
    others: tuple[Model, ...] = (),
) -> Model:
    single = facts.single
    given = sorted(given, key=_preference)
    known = _known_routes(id, given, setting, facts, context)
    routes = _active_routes(id, facts.kind, known, setting, context)
    listed = dearest(route.price for route in routes or known)
    context_tokens = _context_tokens(given, setting, facts)
    longest = facts.output_tokens_max or (OUTPUT_TOKENS_MAX if facts.kind == "chat" else 0)
    if setting is not None and (not given or "output_tokens_max" in setting.model_fields_set):
        longest = setting.output_tokens_max
    return Model(
        id=id,
        name=_name(id, given, setting, facts),
        kind=facts.kind,
        created_at_ms=created_ms(id, single, context.overlay.as_of),
        context_tokens=context_tokens,
        output_tokens_max=min(longest, context_tokens),
        input_modalities=facts.input_modalities,
        output_modalities=facts.output_modalities,
        supported_parameters=facts.supported_parameters,
        refused_parameters=frozenset(facts.refused_parameters),
        expires_at=None if setting is not None and setting.routes else (single.expires_at if single else None),
        replaced_by=single.replaced_by if single else None,
        routes=routes,
        known_routes=known,
        aliases=aliases,
        description=(single.description if single else None)
        or next((offer.description for offer in given if offer.description), ""),
        source=single.source if single else (known[0].price.version if known else "settings"),
        as_of=(single.as_of if single else None) or context.overlay.as_of,
        free=any(offer.free for offer in given),
        price=listed,
        bound=bound(routes, audio="audio" in facts.output_modalities),
        others=others,
    )


def _preference(offer: Offer) -> tuple[bool, bool, int, str]:
    """The vendor itself, then other hosts, the cheapest first, resellers last."""
    table = offer.price.at(0)
    price = table.get("input", 0) + table.get("output", 0) if offer.kind == "chat" else sum(table.values())
    return (not offer.first_party, offer.last, price, offer.host)


def _known_routes(
    id: str, given: list[Offer], setting: config.ModelSetting | None, facts: Facts, context: _Context
) -> tuple[Route, ...]:
    """Every way to serve the model, active or not: the settings' routes if they name any, else the offers'."""
    hides = setting.hides_output if setting is not None and "hides_output" in setting.model_fields_set else None
    price = _own_price(setting)

    def route(provider: str, model: str, asked: Price) -> Route:
        offer = context.listed.get((provider, model))
        return Route(
            provider,
            model,
            asked,
            context.markup(provider, setting),
            hides_output=facts.hides(provider) if hides is None else hides,
            bills_reported_cost=price is None and provider in facts.bills_reported_cost_at,
            responses=offer.responses if offer is not None else "",
        )

    if setting is None or not setting.routes:
        if not given:
            raise config.ConfigError(f'models: "{id}" is not in the catalogue, so it needs routes and a price')
        return tuple(route(offer.host, offer.model, price or offer.price) for offer in given)
    fallback = dearest(offer.price for offer in given) if given else None
    routes = []
    for way in setting.routes:
        offer = context.listed.get((way.provider, way.model))
        asked = price or (offer.price if offer is not None else fallback)
        if asked is None:
            raise config.ConfigError(
                f'models: "{id}": no price is known for {way.model} at {way.provider}, '
                "so it needs price_usd_per_million"
            )
        routes.append(route(way.provider, way.model, asked))
    return tuple(routes)


def _own_price(setting: config.ModelSetting | None) -> Price | None:
    if setting is None or setting.price_usd_per_million is None:
        return None
    written: dict[Unit, Decimal | None] = setting.price_usd_per_million.model_dump()  # type: ignore[assignment]
    try:
        table: dict[Unit, int] = {unit: money.pico_per_unit(usd) for unit, usd in written.items() if usd is not None}
    except ValueError as error:
        raise config.ConfigError(f'models: "{setting.id}": {error}') from error
    sold = table.get("input") and table.get("output") if setting.kind == "chat" else any(table.values())
    if not sold or min(table.values()) < 0:
        raise config.ConfigError(f'models: "{setting.id}" needs prices above 0: what costs nothing is not sold')
    return Price(((0, table),), "settings")


def _active_routes(
    id: str, kind: Kind, known: tuple[Route, ...], setting: config.ModelSetting | None, context: _Context
) -> tuple[Route, ...]:
    """The routes that can be called now. In the sandbox a local model stands in, at the model's own price."""
    further = tuple(context.extra_routes(id)) if context.extra_routes is not None else ()
    elsewhere = setting is not None and any(way.provider not in LOCAL_HOSTS for way in setting.routes)
    if context.settings.sandbox and not elsewhere:
        host, model = STAND_INS.get(kind, ("", ""))
        if host not in context.active:
            return further
        price = dearest((route.price for route in known), known[0].price.version)
        return (Route(host, model, price, context.markup(host, setting)), *further)
    return (*(route for route in known if route.provider in context.active), *further)


def _context_tokens(given: list[Offer], setting: config.ModelSetting | None, facts: Facts) -> int:
    if setting is not None and (not given or "context_tokens" in setting.model_fields_set):
        return setting.context_tokens
    if facts.single is not None and facts.single.context_tokens is not None:
        return facts.single.context_tokens
    return next(
        (offer.context_tokens for offer in given if offer.context_tokens), facts.context_tokens or CONTEXT_TOKENS
    )


def _name(id: str, given: list[Offer], setting: config.ModelSetting | None, facts: Facts) -> str:
    if setting is not None and setting.name is not None:
        return setting.name
    if facts.single is not None and facts.single.name is not None:
        return facts.single.name
    # The reseller names its models with care; hosts often append what only they care about.
    for offer in sorted(given, key=lambda offer: not offer.last):
        if offer.name:
            return offer.name
    return id.rpartition("/")[2]


def _aliases(given: list[Offer], setting: config.ModelSetting | None, facts: Facts) -> tuple[str, ...]:
    """Explicit names first, then the ids that the model's own vendor accepts."""
    found = [*(setting.aliases if setting is not None else ()), *(facts.single.aliases if facts.single else ())]
    for offer in given:
        if offer.first_party:
            found += [offer.model, *offer.refs]
    return tuple(dict.fromkeys(found))


class _Index:
    """Every accepted name → id. The first to claim a name keeps it, but explicit and operators' names win."""

    def __init__(self) -> None:
        self.by_name: dict[str, str] = {}
        self.by_spelling: dict[str, str] = {}

    def add(self, name: str, id: str, *, wins: bool = False) -> None:
        for table, key in ((self.by_name, name.lower()), (self.by_spelling, names.spelling(name))):
            if wins:
                table[key] = id
            else:
                table.setdefault(key, id)


def _index(by_id: Mapping[str, list[Offer]], facts: overlay.Overlay) -> _Index:
    """Ids and explicit aliases, in the order of precedence; then the ids without vendor, where that is clear."""
    index = _Index()
    for id in by_id:
        index.add(id, id)
    for alias, id in facts.aliases.items():
        if id not in by_id:
            raise overlay.OverlayError(f"aliases: {alias} means {id}, which is not in the catalogue")
        index.add(alias, id)
    short: dict[str, list[str]] = {}
    for id, given in by_id.items():
        if any(offer.last or offer.first_party for offer in given):
            short.setdefault(id.rpartition("/")[2], []).append(id)
    for name, ids in short.items():
        if len(ids) == 1:
            index.add(name, ids[0])
    return index
