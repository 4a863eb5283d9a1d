"""Newer prices: fetched on demand, admitted within a sanity band, written to a file that the next build reads.

Owns the band and the file. It must never apply a price silently: `fetched` only says what would change, `write`
makes it so, and nothing is fetched but by the function that the caller passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

from perquery import money
from perquery.calls import Price, Unit
from perquery.catalog.genai import Row, records, rows

# The data file that the genai-prices project publishes.
URL = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
FILE = "models-refresh.json"
BAND = 3  # a price that moves by more than this factor is refused until somebody reviews it

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Change:
    """One price that moved, in pico-USD per unit; `before` is None for a new one, `after` for one that is gone.

    start: from how many input tokens on. applied: all of the model's changes are within the band.
    """

    provider: str
    model: str
    unit: str
    start: int
    before: int | None
    after: int | None
    applied: bool

    def __str__(self) -> str:
        """For people: USD per million units."""
        before, after = (money.plain(pico, 6) if pico is not None else "none" for pico in (self.before, self.after))
        where = f"{self.provider} {self.model} {self.unit}" + (f" from {self.start} tokens" if self.start else "")
        return f"{where}: {before} → {after}" + ("" if self.applied else f" (refused: beyond a factor of {BAND})")


@dataclass(frozen=True, slots=True)
class Refresh:
    """What a fetched table would change, and the rows to be written for it."""

    changes: tuple[Change, ...]
    rows: tuple[Row, ...]
    as_of: date

    def write(self, data: Path) -> None:
        """Makes the admitted changes those of the next build: data/models-refresh.json, replaced as a whole."""
        data.mkdir(parents=True, exist_ok=True)
        content = {"as_of": self.as_of.isoformat(), "source": URL, "rows": [_written(row) for row in self.rows]}
        partial = data / f"{FILE}.partial"
        partial.write_bytes(money.json(content))
        partial.replace(data / FILE)


async def fetched(fetch: Fetch, data: Path, today: date) -> Refresh:
    """Fetches the published table and compares it with the prices in use. Writes nothing.

    Raises ValueError where the table cannot be read, or `data` holds a damaged file of ours.
    """
    base = {(row.provider, row.model): row for row in rows(records(), today)}
    in_use = {(row.provider, row.model): row for row in refreshed(data, base.values())[0]}
    try:
        new = [row for row in rows(money.from_json(await fetch(URL)), today) if row.price is not None]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the price table cannot be read: {error!r}") from error
    if not new:
        raise ValueError("the price table is empty")
    changes: list[Change] = []
    admitted: list[Row] = []
    for row in new:
        key = (row.provider, row.model)
        used = in_use.get(key)
        found = list(differences(row, used))
        changes += found
        chosen = row if all(change.applied for change in found) else used
        # Only what differs from the package's own table is written, so that its next release is not held back.
        if chosen is not None and (key not in base or base[key].price != chosen.price):
            admitted.append(chosen)
    return Refresh(tuple(changes), tuple(admitted), today)


def refreshed(data: Path, table: Iterable[Row]) -> tuple[list[Row], str | None]:
    """The table with the refreshed prices laid over it, and the date of those; as it was where there are none.

    Raises ValueError for a file that is not what `write` writes: a damaged price list is never ignored.
    """
    path = data / FILE
    if not path.is_file():
        return list(table), None
    try:
        content = money.from_json(path.read_bytes())
        over = {(entry["provider"], entry["model"]): entry for entry in content["rows"]}
        as_of = date.fromisoformat(content["as_of"]).isoformat()
        given = []
        for row in table:
            entry = over.pop((row.provider, row.model), None)
            given.append(row if entry is None else replace(row, price=_read(entry["tiers"])))
        given += [_new(entry) for entry in over.values()]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged; remove it or refresh the models again") from error
    return given, as_of


def differences(row: Row, old: Row | None) -> Iterator[Change]:
    """Every price of the row that is not what it was, each marked with whether all of them are within the band."""
    now = row.price or Price(((0, {}),))
    was = old.price if old is not None and old.price is not None else None
    moved: list[tuple[int, Unit, int | None, int | None]] = []
    for start in sorted({start for price in (now, was) if price is not None for start, _ in price.tiers}):
        before, after = (was.at(start) if was is not None else {}), now.at(start)
        for unit in sorted({*before, *after}):
            if before.get(unit) != after.get(unit):
                moved.append((start, unit, before.get(unit), after.get(unit)))
    applied = was is None or all(_sane(before, after) for _, _, before, after in moved)
    for start, unit, gone, come in moved:
        yield Change(row.provider, row.model, unit, start, gone, come, applied)


def _sane(before: int | None, after: int | None) -> bool:
    """Within the band; a price that falls to nothing or vanishes is not, one that is added is."""
    if before is None or not after:
        return before is None and bool(after)
    return before <= after * BAND and after <= before * BAND


def _written(row: Row) -> dict[str, Any]:
    tiers = [[start, dict(table)] for start, table in row.price.tiers] if row.price is not None else []
    return {
        "provider": row.provider,
        "model": row.model,
        "name": row.name,
        "context_tokens": row.context_tokens,
        "tiers": tiers,
    }


def _new(entry: Mapping[str, Any]) -> Row:
    return Row(entry["provider"], entry["model"], entry["name"], entry["context_tokens"], "", (), _read(entry["tiers"]))


def _read(tiers: list[Any]) -> Price:
    read: list[tuple[int, Mapping[Unit, int]]] = []
    for start, table in tiers:
        if not all(type(number) is int and number >= 0 for number in (start, *table.values())):
            raise ValueError("not a price")
        read.append((start, table))
    if not read or read[0][0] != 0:
        raise ValueError("a price starts at 0 tokens")
    return Price(tuple(read))
