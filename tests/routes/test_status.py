"""Status: alive, ready, counters, the root; all without a credential."""

from __future__ import annotations

from pathlib import Path

import pytest

from perquery import __version__
from perquery.store.database import Database
from tests.asgi import Answer
from tests.routes.desk import Desk, visit


def asked(folder: Path, method: str, path: str) -> Answer:
    async def body(desk: Desk) -> Answer:
        return await desk.ask(method, path, headers={})

    return visit(folder, body)


@pytest.mark.parametrize(("path", "says"), [("/health", "ok"), ("/ready", "ready")])
def test_a_gateway_that_works_says_so(tmp_path: Path, path: str, says: str) -> None:
    answer = asked(tmp_path, "GET", path)
    assert (answer.status, answer.json()["status"]) == (200, says)
    assert asked(tmp_path, "HEAD", path).status == 200


def test_the_root_says_what_this_is(tmp_path: Path) -> None:
    answer = asked(tmp_path, "GET", "/").json()
    assert answer == {"name": "PerQuery", "version": __version__, "mode": "sandbox", "docs": "/openapi.json"}
    assert asked(tmp_path, "HEAD", "/").status == 200


def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    answer = asked(tmp_path, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert b"desk_visits_total 1.0" in answer.body


def test_a_ledger_that_is_down_is_not_ready_but_alive(tmp_path: Path) -> None:
    async def body(desk: Desk) -> list[Answer]:
        desk.ledger.down = True
        return [await desk.ask("GET", path, headers={}) for path in ("/ready", "/health")]

    ready, health = visit(tmp_path, body)
    assert (ready.status, ready.json()["error"]["code"], health.status) == (503, "ledger_unavailable", 200)


def test_a_database_that_is_away_is_not_ready(tmp_path: Path) -> None:
    async def body(desk: Desk) -> Answer:
        desk.app.state.database = nowhere = Database(f"sqlite:///{tmp_path}/nothing/perquery.db")
        answer = await desk.ask("GET", "/ready", headers={})
        nowhere.close()
        return answer

    answer = visit(tmp_path, body)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
