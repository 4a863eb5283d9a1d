"""`perquery rates`: who says what, and status 1 where there is no rate."""

from __future__ import annotations

import json
from pathlib import Path

from tests.rates.markets import Markets, markets
from tests.serving import run_command


def configured(folder: Path, running: Markets) -> Path:
    urls = ", ".join(f'{name} = "{url}"' for name, url in running.urls().items())
    file = folder / "perquery.toml"
    file.write_text(f"[rates]\nsources = {json.dumps(list(running.prices))}\nurls = {{ {urls} }}\n")
    return file


def test_the_rate_and_its_sources(tmp_path: Path) -> None:
    with markets(coinbase="64000", kraken="64010.5", mempool="64020") as running:
        config = configured(tmp_path, running)
        (shown,) = json.loads(run_command("rates", "--json", data=tmp_path, config=config).stdout)
        told = run_command("rates", "btc", data=tmp_path, config=config).stdout
    assert (shown["coin"], shown["usd"], shown["why"]) == ("BTC", "64010.5", "")
    assert shown["sources"] == {"coinbase": "64000", "kraken": "64010.5", "mempool": "64020"}
    assert "64010.5" in told and "mempool" in told


def test_no_rate_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    with markets(coinbase="64000", kraken="70000") as running:
        found = run_command("rates", data=tmp_path, config=configured(tmp_path, running), check=False)
    assert found.returncode == 1 and "the sources disagree: coinbase, kraken" in found.stdout


def test_a_fixed_rate_asks_nobody(tmp_path: Path) -> None:
    file = tmp_path / "perquery.toml"
    file.write_text('rates.fixed = { BTC = "50000", ltc = "70" }\n')
    told = run_command("rates", "BTC", "LTC", data=tmp_path, config=file).stdout
    assert "50000" in told and "70" in told
