"""Accounts over HTTP: PPQ's flat answer, and a balance that every kind of credential may ask for."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from tests.asgi import Answer
from tests.routes.desk import Desk, visit

BALANCE = "/credits/balance"


def test_a_new_account_comes_flat_with_201(tmp_path: Path) -> None:
    async def body(desk: Desk) -> Answer:
        return await desk.ask("POST", "/accounts/create", headers={})

    answer = visit(tmp_path, body)
    made = answer.json()
    assert (answer.status, set(made)) == (201, {"success", "credit_id", "api_key", "balance"})
    assert (made["success"], made["balance"], len(made["credit_id"])) == (True, 0, 36)
    assert made["api_key"].startswith("sk-")
    assert answer.headers["content-type"] == "application/json"


def test_an_address_makes_a_bounded_number_of_accounts(tmp_path: Path) -> None:
    async def body(desk: Desk) -> list[Answer]:
        return [await desk.ask("POST", "/accounts/create", headers={}) for _ in range(3)]

    answers = visit(tmp_path, body)
    assert [answer.status for answer in answers] == [201, 201, 429]
    assert answers[2].headers["retry-after"] == "1800"


@pytest.mark.parametrize("how", ["Bearer", "x-credit-id", "x-api-key", "api-key", "body"])
def test_the_balance_is_a_plain_number_for_every_credential(tmp_path: Path, how: str) -> None:
    async def body(desk: Desk) -> Answer:
        made = desk.made
        headers = {
            "Bearer": {"authorization": f"Bearer {made.api_key}"},
            "x-credit-id": {"x-credit-id": made.credit_id},
            "body": {},
        }.get(how, {how: made.api_key})
        return await desk.ask(
            "POST", BALANCE, json.dumps({"credit_id": made.credit_id}) if how == "body" else "", headers=headers
        )

    answer = visit(tmp_path, body)
    assert (answer.status, answer.json()["balance"]) == (200, Decimal("1.5"))
    assert set(answer.json()) == {"balance", "available", "held", "owed", "bonus", "refundable"}
    assert re.search(rb'"balance":1\.5,', answer.body)


@pytest.mark.parametrize("sent", ["", "{}", '{"credit_id": null}', " \n"])
def test_no_credential_is_a_401(tmp_path: Path, sent: str) -> None:
    async def body(desk: Desk) -> Answer:
        return await desk.ask("POST", BALANCE, sent, headers={})

    answer = visit(tmp_path, body)
    assert (answer.status, answer.json()["error"]["code"]) == (401, "missing_credentials")


@pytest.mark.parametrize("sent", ['{"credit_id": ""}', '{"credit_id": "nobody"}', '{"credit_id": "\\ud800\\u0000"}'])
def test_an_unknown_credit_id_is_a_401(tmp_path: Path, sent: str) -> None:
    async def body(desk: Desk) -> Answer:
        return await desk.ask("POST", BALANCE, sent, headers={})

    assert visit(tmp_path, body).status == 401


@pytest.mark.parametrize("sent", [b"{", b"[]", b"1", b'{"credit_id": 1}', b'{"credit_id": []}', b"\xff", b"[" * 9_999])
def test_a_bad_body_is_a_400(tmp_path: Path, sent: bytes) -> None:
    async def body(desk: Desk) -> Answer:
        return await desk.ask("POST", BALANCE, sent, headers={})

    assert visit(tmp_path, body).status == 400


def test_a_revoked_key_sees_no_balance(tmp_path: Path) -> None:
    async def body(desk: Desk) -> list[int]:
        statuses = [(await desk.ask("POST", BALANCE)).status]
        (key,) = (await desk.ask("GET", "/keys", headers=desk.master)).json()["data"]
        await desk.ask("DELETE", f"/keys/{key['_id']}", headers=desk.master)
        statuses.append((await desk.ask("POST", BALANCE)).status)
        return statuses

    assert visit(tmp_path, body) == [200, 401]
