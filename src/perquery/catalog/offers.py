"""Offers: who sells which model at which price, before settings: the price table's rows and the overlay's as one list.

Owns the joining of hosts' names to the catalogue's ids. It must never join by likeness: names meet when their
spelling is the same, or when the overlay says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from perquery.calls import InResponses, Kind, Price, Unit
from perquery.catalog import names
from perquery.catalog.genai import Row
from perquery.catalog.overlay import Host, Overlay

AGGREGATOR = "openrouter"
NEVER = r"(?!)"
FREE = Price(((0, {"input": 0, "output": 0}),))


@dataclass(frozen=True, slots=True)
class Offer:
    """One model at one upstream. `first_party`: the upstream is the model's own vendor; `last`: it resells;
    `responses`: as in calls.Route."""

    id: str
    host: str
    model: str
    price: Price
    name: str | None = None
    context_tokens: int | None = None
    description: str = ""
    refs: tuple[str, ...] = ()
    first_party: bool = False
    last: bool = False
    free: bool = False
    responses: InResponses = ""
    kind: Kind = "chat"


def gather(rows: Iterable[Row], facts: Overlay, version: str) -> list[Offer]:
    """All offers, priced: the table's for chat models only. `version` names the price table in the prices."""
    by_table: dict[str, list[Row]] = {}
    for row in rows:
        by_table.setdefault(row.provider, []).append(row)
    reviewed = {(row.host, row.model) for row in facts.rows}
    extras = {(extra.host, extra.model): extra.prices for extra in facts.extras}
    offers: list[Offer] = []
    ids = _Ids(facts)
    # The aggregator's ids are the catalogue's, so its rows come first and the others find them by spelling.
    for host in sorted(facts.hosts, key=lambda name: name != AGGREGATOR):
        rule = facts.hosts[host]
        for row in _eligible(rule, by_table, facts):
            model = _upstream_name(rule, row)
            if (host, model) in reviewed:
                continue
            id = ids.of(host, rule, row)
            offers.append(
                Offer(
                    id,
                    host,
                    model,
                    _priced(row.price or FREE, extras.get((host, model), {}), version),
                    row.name,
                    row.context_tokens,
                    row.description,
                    row.refs,
                    first_party=bool(rule.vendor) and id.startswith(f"{rule.vendor}/"),
                    last=rule.last,
                    free=row.price is None,
                    responses=_in_responses(rule, model),
                )
            )
    offers += _reviewed(facts)
    return offers


def _reviewed(facts: Overlay) -> Iterator[Offer]:
    for row in facts.rows:
        rule = facts.hosts.get(row.host, Host())
        yield Offer(
            row.id,
            row.host,
            row.model,
            replace(row.price, version=f"overlay {row.as_of or facts.as_of}"),
            context_tokens=row.context_tokens,
            first_party=bool(rule.vendor) and row.id.startswith(f"{rule.vendor}/"),
            last=rule.last,
            free=row.free,
            responses=_in_responses(rule, row.model),
            kind=row.kind,
        )


def _in_responses(rule: Host, model: str) -> InResponses:
    if rule.responses_only and re.search(rule.responses_only, model):
        return "only"
    return "tools" if rule.responses_tools and re.search(rule.responses_tools, model) else ""


def _eligible(rule: Host, by_table: Mapping[str, list[Row]], facts: Overlay) -> Iterator[Row]:
    """The host's rows that we sell: priced, or marked free by the overlay and still named by the table."""
    only, skip = re.compile(rule.only), re.compile(rule.skip or NEVER)
    also, free = re.compile(rule.also or NEVER), re.compile(rule.free or NEVER)
    for table in rule.tables:
        for row in by_table.get(table, ()):
            id = row.model.lower()
            if row.name is None and row.model not in rule.join and (rule.named_only or row.price is None):
                continue
            sold = not facts.not_chat.search(id) or also.search(id)
            if only.search(row.model) and not skip.search(row.model) and (sold if row.price else free.search(id)):
                yield row


def _upstream_name(rule: Host, row: Row) -> str:
    if row.model in rule.names:
        return rule.names[row.model]
    if rule.use_ref and row.refs:
        return row.refs[0]
    # A router's table is called by its own name and the vendor it sells, which is the suffix that it wants.
    suffix = rule.suffix.format(table=row.provider.partition("_")[2])
    return f"{rule.prefix}{row.model}{suffix}"


def _priced(price: Price, extra: Mapping[Unit, int], version: str) -> Price:
    tiers = tuple((start, {**table, **extra}) for start, table in price.tiers) if extra else price.tiers
    return Price(tiers, version)


class _Ids:
    """The catalogue's id for each row, by the overlay's word or by spelling."""

    def __init__(self, facts: Overlay) -> None:
        self._vendors = facts.vendors
        self._by_bare: dict[str, str | None] = {}
        for id in facts.facts:
            self._by_bare.setdefault(names.bare(id), id)

    def of(self, host: str, rule: Host, row: Row) -> str:
        if row.model in rule.join:
            return rule.join[row.model]
        bare = names.bare(row.model)
        if host == AGGREGATOR:
            known = self._by_bare.setdefault(bare, row.model)
            if known != row.model:
                self._by_bare[bare] = None  # two vendors' models of one name: never joined by spelling
            return row.model
        if (joined := self._by_bare.get(bare)) is not None:
            return joined
        id = self._own(host, rule, row.model.lower())
        self._by_bare.setdefault(bare, id)
        return id

    def _own(self, host: str, rule: Host, model: str) -> str:
        vendor, slash, rest = model.rpartition("/")
        if slash:
            return f"{self._vendors.get(vendor, vendor)}/{rest}"
        return f"{rule.vendor or host}/{model}"
