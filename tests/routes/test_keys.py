"""Keys over HTTP: PPQ's shapes, the credit id needed, secrets shown once, every bad field named."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.asgi import Answer
from tests.routes.desk import Desk, visit
from tests.store.calls import called
from tests.store.clock import MONDAY

FULL = (
    '{"name": "laptop", "usage_limit_usd": 5.25, "reset_period": "monthly",'
    ' "expire_at": "2030-01-31T01:00:00.5+01:00", "models": ["stub", "stub-model"], "more": 1}'
)


def create(folder: Path, sent: str | bytes) -> Answer:
    async def body(desk: Desk) -> Answer:
        return await desk.ask("POST", "/keys", sent, headers=desk.master)

    return visit(folder, body)


def test_a_created_key_shows_its_terms_and_its_secret(tmp_path: Path) -> None:
    answer = create(tmp_path, FULL)
    data = answer.json()["data"]
    assert (answer.status, answer.json()["status"]) == (201, "success")
    assert data.pop("api_key").startswith("sk-") and len(data.pop("_id")) == 24
    assert data == {
        "name": "laptop",
        "created_at": "2026-01-05T00:00:00.000Z",
        "usage_limit_usd": Decimal("5.25"),
        "reset_period": "monthly",
        "reset_at": "2026-02-01T00:00:00.000Z",
        "expire_at": "2030-01-31T00:00:00.500Z",
        "models": ["stub-model"],
        "prompt_caching": True,
    }


def test_a_key_with_nothing_but_a_name_is_unbounded(tmp_path: Path) -> None:
    data = create(tmp_path, '{"name": " phone "}').json()["data"]
    unbounded = ("usage_limit_usd", "reset_period", "reset_at", "expire_at", "models")
    assert (data["name"], [data[field] for field in unbounded]) == ("phone", [None] * 5)


def test_the_list_shows_standing_and_never_a_secret(tmp_path: Path) -> None:
    async def body(desk: Desk) -> list[Any]:
        (key,) = (await desk.ask("GET", "/keys", headers=desk.master)).json()["data"]
        await desk.book(*called(desk.made.account_id, key["_id"], MONDAY, 250))
        lists = [await desk.ask("GET", f"/keys{query}", headers=desk.master) for query in ("", "?show_key=true")]
        one = await desk.ask("GET", f"/keys/{key['_id']}?show_key=true", headers=desk.master)
        return [*(answer.json()["data"][0] for answer in lists), one.json()["data"]]

    plain, shown, one = visit(tmp_path, body)
    assert shown == one == plain | {"api_key": None}
    assert (plain["name"], plain["deleted_at"], plain["updated_at"]) == ("Default", None, "2026-01-05T00:00:00.000Z")
    assert plain["current_period_usage_usd"] == plain["total_usage_all_time_usd"] == Decimal("0.00000025")


def test_a_key_says_whether_its_prompts_are_marked(tmp_path: Path) -> None:
    async def body(desk: Desk) -> list[Any]:
        made = await desk.ask("POST", "/keys", '{"name": "a", "prompt_caching": false}', headers=desk.master)
        path = f"/keys/{made.json()['data']['_id']}"
        named = await desk.ask("PATCH", path, '{"name": "b"}', headers=desk.master)
        on = await desk.ask("PATCH", path, '{"prompt_caching": true}', headers=desk.master)
        return [answer.json()["data"]["prompt_caching"] for answer in (made, named, on)]

    assert visit(tmp_path, body) == [False, False, True]


def test_a_change_and_a_deletion_answer_with_the_key(tmp_path: Path) -> None:
    async def body(desk: Desk) -> tuple[list[Answer], list[Any]]:
        (key,) = (await desk.ask("GET", "/keys", headers=desk.master)).json()["data"]
        path = f"/keys/{key['_id']}"
        changed = await desk.ask("PATCH", path, '{"usage_limit_usd": 2, "name": "a"}', headers=desk.master)
        lifted = await desk.ask("PATCH", path, '{"usage_limit_usd": null}', headers=desk.master)
        deleted = await desk.ask("DELETE", path, headers=desk.master)
        late = await desk.ask("PATCH", path, '{"name": "b"}', headers=desk.master)
        lists = [await desk.ask("GET", f"/keys{query}", headers=desk.master) for query in ("", "?deleted=true")]
        return [changed, lifted, deleted, late], [len(answer.json()["data"]) for answer in lists]

    (changed, lifted, deleted, late), counts = visit(tmp_path, body)
    assert [changed.status, lifted.status, deleted.status, late.status] == [200, 200, 200, 404]
    assert (changed.json()["data"]["usage_limit_usd"], changed.json()["data"]["name"]) == (2, "a")
    assert (lifted.json()["data"]["usage_limit_usd"], lifted.json()["data"]["name"]) == (None, "a")
    assert deleted.json()["data"]["deleted_at"] == "2026-01-05T00:00:00.000Z"
    assert counts == [0, 1]


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ("{}", "name"),
        ('{"name": null}', "name"),
        ('{"name": ""}', "name"),
        ('{"name": "   "}', "name"),
        ('{"name": "' + "x" * 26 + '"}', "name"),
        ('{"name": "a\\u0000b"}', "name"),
        ('{"name": "\\ud800"}', "name"),
        ('{"name": ["a"]}', "name"),
        ('{"name": "Default"}', "name"),
        ('{"name": "a", "usage_limit_usd": 0}', "usage_limit_usd"),
        ('{"name": "a", "usage_limit_usd": 0.009}', "usage_limit_usd"),
        ('{"name": "a", "usage_limit_usd": -1}', "usage_limit_usd"),
        ('{"name": "a", "usage_limit_usd": true}', "usage_limit_usd"),
        ('{"name": "a", "usage_limit_usd": "5"}', "usage_limit_usd"),
        ('{"name": "a", "usage_limit_usd": 1e999999999}', "usage_limit_usd"),
        ('{"name": "a", "usage_limit_usd": 1e-999999999}', "usage_limit_usd"),
        ('{"name": "a", "usage_limit_usd": 0.0123456789}', "usage_limit_usd"),
        ('{"name": "a", "usage_limit_usd": 10000000000}', "usage_limit_usd"),
        ('{"name": "a", "reset_period": "yearly"}', "reset_period"),
        ('{"name": "a", "reset_period": ["daily"]}', "reset_period"),
        ('{"name": "a", "expire_at": "soon"}', "expire_at"),
        ('{"name": "a", "expire_at": 1800000000}', "expire_at"),
        ('{"name": "a", "expire_at": "2026-01-05T00:00:00Z"}', "expire_at"),
        ('{"name": "a", "expire_at": "0001-01-01T00:00:00+14:00"}', "expire_at"),
        ('{"name": "a", "models": []}', "models"),
        ('{"name": "a", "models": "stub"}', "models"),
        ('{"name": "a", "models": [1]}', "models"),
        ('{"name": "a", "models": ["no-such-model"]}', "models"),
        ('{"name": "a", "models": ["\\u0000"]}', "models"),
        ('{"name": "a", "models": ["\\ud800"]}', "models"),
        ('{"name": "a", "prompt_caching": null}', "prompt_caching"),
        ('{"name": "a", "prompt_caching": "off"}', "prompt_caching"),
        ('{"name": NaN}', None),
        ("[]", None),
        ("", "name"),
    ],
)
def test_a_bad_field_is_a_400_that_names_it(tmp_path: Path, sent: str, param: str | None) -> None:
    answer = create(tmp_path, sent)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/keys"), ("GET", "/keys"), ("GET", "/keys/x"), ("PATCH", "/keys/x"), ("DELETE", "/keys/x")],
)
def test_a_key_alone_does_not_manage_keys(tmp_path: Path, method: str, path: str) -> None:
    async def body(desk: Desk) -> Answer:
        return await desk.ask(method, path, '{"name": "a"}')

    answer = visit(tmp_path, body)
    assert (answer.status, answer.json()["error"]["code"]) == (403, "credit_id_required")


def test_the_credit_id_counts_beside_a_key(tmp_path: Path) -> None:
    async def body(desk: Desk) -> Answer:
        both = desk.master | {"authorization": f"Bearer {desk.made.api_key}"}
        return await desk.ask("GET", "/keys", headers=both)

    assert visit(tmp_path, body).status == 200


@pytest.mark.parametrize("key_id", ["x", "0" * 24, "%00" * 24, "%ED%A0%80"])
def test_an_unknown_key_is_a_404(tmp_path: Path, key_id: str) -> None:
    async def body(desk: Desk) -> list[int]:
        asked = [("GET", ""), ("PATCH", '{"name": "a"}'), ("DELETE", "")]
        return [(await desk.ask(method, f"/keys/{key_id}", sent, headers=desk.master)).status for method, sent in asked]

    assert visit(tmp_path, body) == [404, 404, 404]
