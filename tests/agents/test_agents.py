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

from perquery.config import Dialect, Kind, ModelSetting, PriceSetting, Provider, RouteSetting
from tests import serving
from tests.agents.play import DONE, MARKER_FILE, SEAL, Actor
from tests.agents.stage import TOOLS, Run, Tool, missing, played
from tests.fire.hearth import Hearth, burning
from tests.scenes import Scene
from tests.vendors import KEY, Vendors, vendors

pytestmark = pytest.mark.slow

DIALECTS: Final[tuple[Dialect, ...]] = get_args(Dialect)
USD: Final = PriceSetting(input=Decimal("3.00"), output=Decimal("15.00"), cache_read=Decimal("0.30"))

# What the first model's name does beside chat: the price, and nano-USD for what a tool asks for, with 5 % on it (2,000
# tokens; the six characters of "Hello."; a second of sound; a picture).
WORKS: Final[dict[Kind, tuple[str, PriceSetting, int]]] = {
    "embedding": ("/embeddings", PriceSetting(input=Decimal("0.50")), 1_050_000),
    "tts": ("/audio/speech", PriceSetting(character=Decimal(15)), 94_500),
    "stt": ("/audio/transcriptions", PriceSetting(second=Decimal(100)), 105_000),
    "image": ("/images/generations", PriceSetting(image=Decimal(40_000)), 42_000_000),
}
WORK_DUE: Final = {path: due_nano for path, _, due_nano in WORKS.values()}


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
        models += [
            models[0].model_copy(update={"kind": kind, "price_usd_per_million": usd})
            for kind, (_, usd, _) in WORKS.items()
        ]
        with burning(tmp_path_factory.mktemp("gateway"), models=models, others=rows) as hearth:
            yield hearth, running


def due(scene: Scene) -> int:
    """Nano-USD for a turn at $3, $0.30 for what was cached, and $15 a million, with 5 % on it, rounded up."""
    pico = scene.input * 3_000_000 + scene.cached * 300_000 + (scene.output + scene.reasoning) * 15_000_000
    return -(-pico * 105 // 100_000)


def rounds(tool: Tool) -> Iterator[tuple[Dialect, ...]]:
    """Before which upstreams a tool is run, each time."""
    if tool.at_once:
        yield DIALECTS
    else:
        yield from ((dialect,) for dialect in (DIALECTS[:1] if tool.connects else DIALECTS))


RUNS: Final = [
    pytest.param(tool, dialects, id=f"{tool.name}-{dialects[0] if len(dialects) == 1 else 'all'}")
    for tool in TOOLS
    for dialects in rounds(tool)
]


@pytest.mark.parametrize(("tool", "dialects"), RUNS)
def test_a_tool_works_and_its_bill_is_exact(
    world: tuple[Hearth, Vendors], tool: Tool, dialects: tuple[Dialect, ...], tmp_path: Path
) -> None:
    if reason := missing(tool):
        pytest.skip(reason)
    hearth, running = world

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("20")
        actor = running.play = Actor()
        running.seen.clear()
        running.worked.clear()
        models = tuple(f"by-{dialect}" for dialect in dialects)
        where = Run(f"http://127.0.0.1:{bed.port}", account.key, models, tmp_path / "home", tmp_path / "work")
        where.home.mkdir()
        where.project.mkdir()
        ended = await played(tool, where)
        assert ended.status == 0, ended.output
        assert all(ended.output.count(words) >= len(dialects) for words in tool.shows), ended.output
        if tool.leaves:
            assert (where.project / MARKER_FILE).read_text().strip() == DONE
        assert tool.works <= set(running.worked)
        costs = [*map(due, actor.told), *(WORK_DUE[path] for path in running.worked)]
        assert await bed.spent(account) == sum(costs) > 0
        assert sorted(row["cost_nano"] for row in bed.rows(account)) == sorted(costs)
        for dialect in dialects:
            last = [body for path, body in running.seen if path.startswith(f"/{dialect}/")][-1]
            if tool.seals and dialect != "openai-chat":
                assert SEAL in str(last), "the thought did not come back with its seal"

    hearth.run(run())


def test_the_books_are_right_afterwards(world: tuple[Hearth, Vendors]) -> None:
    file = world[0].bed.database.sqlite_path
    assert file is not None
    assert serving.run_command("ledger", "verify", data=Path(file).parent).returncode == 0
