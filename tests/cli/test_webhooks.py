"""`perquery webhooks` beside a gateway: what was changed before it was killed is told after, and again by hand."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.answering import Asked, answering
from tests.serving import Gateway, run_command, serving, start

PATIENCE_S = 20
SECRET = "only-the-receiver-knows"


@contextmanager
def shop(folder: Path, *statuses: int, held: threading.Event | None = None) -> Iterator[tuple[Path, Queue[Asked]]]:
    """The operator's service, which answers with the statuses and then 200, once `held` is set: the settings, and what
    comes.
    """
    came: Queue[Asked] = Queue()
    left = list(statuses)

    def answer(asked: Asked) -> tuple[int, bytes]:
        came.put(asked)
        if held is not None:
            held.wait(PATIENCE_S)
        return (left.pop(0) if left else 200), b"said"

    with answering(answer) as url:
        config = folder / "perquery.toml"
        config.write_text(f'[[webhooks]]\nname = "shop"\nurl = "{url}/hook"\nsecret = "{SECRET}"\n')
        yield config, came


def lease_over(data: Path) -> None:
    """As if the time of the killed one's lease had passed."""
    with closing(sqlite3.connect(data / "perquery.db")) as connection, connection:
        assert connection.execute("DELETE FROM leases WHERE name = 'webhook:shop'").rowcount == 1


def written(gateway: Gateway) -> dict[str, Any]:
    """The newest delivery, as soon as it is written down what came of it."""
    for _ in range(20):
        newest: dict[str, Any] = gateway.command("webhooks", "list", "--limit", "1")[0]
        if newest["state"] != "pending":
            break
    return newest


def test_a_change_before_a_kill_is_told_after_it_and_again_by_hand(tmp_path: Path) -> None:
    held = threading.Event()
    with shop(tmp_path, 200, 404, held=held) as (config, came):
        gateway = start(tmp_path / "data", config)
        _, key = gateway.account()
        made = gateway.call("POST", "/topup/create/btc-lightning", {"amount": 1, "currency": "USD"}, key=key)
        first = came.get(timeout=PATIENCE_S)
        gateway.kill()
        held.set()
        lease_over(tmp_path / "data")
        with serving(tmp_path / "data", config) as again:
            second = came.get(timeout=PATIENCE_S)
            event = json.loads(second.body)
            assert second.headers["perquery-delivery"] == first.headers["perquery-delivery"]
            assert (event["type"], event["invoice"]["invoice_id"]) == ("invoice.created", made.json()["invoice_id"])
            row = written(again)
            assert (row["state"], row["status"], row["answer"], row["attempts"]) == ("failed", 404, "said", 1)
            repeated = again.command("webhooks", "redeliver", row["id"])
            asked = came.get(timeout=PATIENCE_S)
            body = json.loads(asked.body)
            assert (body["id"], body["redelivery_of"]) == (event["id"], row["id"])
            assert asked.headers["perquery-delivery"] == repeated["id"]
            assert written(again)["state"] == "delivered"
            shown = again.command("webhooks", "show", repeated["id"])
            assert (shown["state"], shown["body"]) == ("delivered", body)
            assert "shop" in run_command("webhooks", "list", data=again.data, config=config).stdout
        assert SECRET not in (tmp_path / "data" / "gateway.log").read_text()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (500, 1)])
def test_a_test_is_sent_once_and_says_what_came_of_it(tmp_path: Path, status: int, code: int) -> None:
    with shop(tmp_path, status) as (config, came):
        found = run_command("webhooks", "test", "shop", "--json", data=tmp_path, config=config, check=False)
        assert found.returncode == code
        told = {"webhook": "shop", "ok": status == 200, "status": status, "answer": "said"}
        assert json.loads(found.stdout) == told
        asked = came.get(timeout=PATIENCE_S)
        assert json.loads(asked.body)["type"] == "webhook.test" and asked.headers["perquery-signature"]
        assert came.empty()


def test_what_is_unknown_is_said_in_a_line(tmp_path: Path) -> None:
    with shop(tmp_path) as (config, _):
        found = run_command("webhooks", "test", "barn", data=tmp_path, config=config, check=False)
        assert found.returncode == 1 and "there are: shop" in found.stderr
        assert SECRET not in found.stderr
