"""Tools as people run them, before each kind of upstream: they end well, their tools really run, the price is exact.

What the model says is a script; what it bills differs with every turn, so that a turn charged twice or not at all
shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final, get_args

import pytest

from perquery.config import Dialect, ModelSetting, PriceSetting, Provider, RouteSetting
from tests import serving
from tests.agents.play import DONE, MARKER_FILE, SEAL, Actor
from tests.agents.stage import TOOLS, Run, Tool, missing, played
from tests.fire.hearth import Hearth, burning
from tests.scenes import Scene
from tests.vendors import KEY, Vendors, vendors

pytestmark = pytest.mark.slow

DIALECTS: Final[tuple[Dialect, ...]] = get_args(Dialect)
USD: Final = PriceSetting(input=Decimal("3.00"), output=Decimal("15.00"), cache_read=Decimal("0.30"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hearth, Vendors]]:
    """One gateway with an upstream of each dialect; a model is named like its upstream."""
    with vendors() as running:
        rows = [
            Provider(name=f"by-{name}", dialect=name, base_url=running.base_url(name), api_keys=(KEY,))
            for name in DIALECTS
        ]
        models = [
            ModelSetting(id=row.name, routes=(RouteSetting(provider=row.name, model="m"),), price_usd_per_million=USD)
            for row in rows
        ]
        with burning(tmp_path_factory.mktemp("gateway"), models=models, others=rows) as hearth:
            yield hearth, running


def due(scene: Scene) -> int:
    """Nano-USD for a turn at $3, $0.30 for what was cached, and $15 a million, with 5 % on it, rounded up."""
    pico = scene.input * 3_000_000 + scene.cached * 300_000 + (scene.output + scene.reasoning) * 15_000_000
    return -(-pico * 105 // 100_000)


RUNS: Final = [
    pytest.param(tool, dialect, id=f"{tool.name}-{dialect}")
    for tool in TOOLS
    for dialect in (DIALECTS[:1] if tool.connects else DIALECTS)
]


@pytest.mark.parametrize(("tool", "dialect"), RUNS)
def test_a_tool_works_and_its_bill_is_exact(
    world: tuple[Hearth, Vendors], tool: Tool, dialect: Dialect, tmp_path: Path
) -> None:
    if reason := missing(tool):
        pytest.skip(reason)
    hearth, running = world

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("20")
        actor = running.play = Actor()
        running.seen.clear()
        where = Run(f"http://127.0.0.1:{bed.port}", account.key, f"by-{dialect}", tmp_path / "home", tmp_path / "work")
        where.home.mkdir()
        where.project.mkdir()
        ended = await played(tool, where)
        assert ended.status == 0, ended.output
        assert all(words in ended.output for words in tool.shows), ended.output
        if tool.leaves:
            assert (where.project / MARKER_FILE).read_text().strip() == DONE
        assert await bed.spent(account) == sum(map(due, actor.told)) > 0
        assert sorted(row["cost_nano"] for row in bed.rows(account)) == sorted(map(due, actor.told))
        if tool.seals and dialect != "openai-chat":
            assert SEAL in str(running.seen[-1]), "the thought did not come back with its seal"

    hearth.run(run())


def test_the_books_are_right_afterwards(world: tuple[Hearth, Vendors]) -> None:
    file = world[0].bed.database.sqlite_path
    assert file is not None
    assert serving.run_command("ledger", "verify", data=Path(file).parent).returncode == 0
