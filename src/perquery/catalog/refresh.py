"""Newer prices: fetched on demand, admitted within a sanity band, written to a file that the next build reads.

Owns the band and the file. It must never apply a price silently: what changed and what was refused is returned,
and nothing is fetched but by the function that the caller passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

from perquery import money
from perquery.calls import Price, Unit
from perquery.catalog.genai import Row, rows

# The data file that the genai-prices project publishes.
URL = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
FILE = "models-refresh.json"
BAND = 3  # a price that moves by more than this factor is refused until somebody reviews it

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Change:
    """One price that moved, in pico-USD per unit; `before` is None for a new model. `applied`: within the band."""

    provider: str
    model: str
    unit: str
    before: int | None
    after: int
    applied: bool


async def refresh(fetch: Fetch, current: Iterable[Row], data: Path, today: date) -> list[Change]:
    """Fetches the published table, writes what is within the band to `data`/models-refresh.json, returns the diff.

    Raises ValueError where the table cannot be read; then nothing is written.
    """
    try:
        new = list(rows(money.from_json(await fetch(URL)), today))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the price table cannot be read: {error!r}") from error
    if not new:
        raise ValueError("the price table is empty")
    known = {(row.provider, row.model): row for row in current}
    changes: list[Change] = []
    admitted: list[Row] = []
    for row in new:
        found = list(_changes(row, known.get((row.provider, row.model))))
        changes += found
        if found and all(change.applied for change in found):
            admitted.append(row)
    data.mkdir(parents=True, exist_ok=True)
    content = {"as_of": today.isoformat(), "source": URL, "rows": [_written(row) for row in admitted]}
    partial = data / f"{FILE}.partial"
    partial.write_bytes(money.json(content))
    partial.replace(data / FILE)
    return changes


def _changes(row: Row, old: Row | None) -> Iterator[Change]:
    if old is None:
        for unit, after in row.price.at(0).items():
            yield Change(row.provider, row.model, unit, None, after, True)
        return
    starts = {start for price in (row.price, old.price) for start, _ in price.tiers}
    moved = [
        (unit, old.price.at(start).get(unit), row.price.at(start).get(unit))
        for start in sorted(starts)
        for unit in sorted({*row.price.at(start), *old.price.at(start)})
    ]
    applied = all(before == after or _sane(before, after) for _, before, after in moved)
    for unit, before, after in moved:
        if before != after:
            yield Change(row.provider, row.model, unit, before, after or 0, applied)


def _sane(before: int | None, after: int | None) -> bool:
    """A price that vanishes, appears at zero or jumps out of the band is not."""
    if before is None:
        return bool(after)
    return bool(after) and before <= after * BAND and after <= before * BAND  # type: ignore[operator]


def _written(row: Row) -> dict[str, Any]:
    tiers = [[start, dict(table)] for start, table in row.price.tiers]
    return {"provider": row.provider, "model": row.model, "name": row.name, "tiers": tiers} | (
        {"context_tokens": row.context_tokens} if row.context_tokens else {}
    )


def refreshed(data: Path, table: Iterable[Row]) -> tuple[list[Row], str | None]:
    """The table with the refreshed prices laid over it, and the date of those; as it was where there are none.

    Raises ValueError for a file that is not what `refresh` writes: a damaged price list is never ignored.
    """
    path = data / FILE
    if not path.is_file():
        return list(table), None
    try:
        content = money.from_json(path.read_bytes())
        over = {(entry["provider"], entry["model"]): entry for entry in content["rows"]}
        as_of: str = content["as_of"]
        given = [
            replace(row, price=_read(over.pop((row.provider, row.model))["tiers"]))
            if (row.provider, row.model) in over
            else row
            for row in table
        ]
        added = [_new(entry) for entry in over.values()]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged; remove it or run `perquery models refresh` again") from error
    return given + added, as_of


def _new(entry: Mapping[str, Any]) -> Row:
    price = _read(entry["tiers"])
    return Row(entry["provider"], entry["model"], entry["name"], entry.get("context_tokens"), "", (), price)


def _read(tiers: list[Any]) -> Price:
    read: list[tuple[int, Mapping[Unit, int]]] = []
    for start, table in tiers:
        if not all(isinstance(pico, int) and pico >= 0 for pico in (start, *table.values())):
            raise ValueError("not a price")
        read.append((start, table))
    return Price(tuple(read))
