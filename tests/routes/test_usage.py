"""Calls and costs over HTTP: PPQ's history, OpenRouter's shapes, and sums as JSON and CSV."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.asgi import Answer
from tests.routes.desk import Desk, visit
from tests.store.calls import called, id_at
from tests.store.clock import MONDAY

DAY = 86_400_000
PREFIXES = ("", "/v1", "/api/v1")


async def key_id_of(desk: Desk) -> str:
    (key,) = (await desk.ask("GET", "/keys", headers=desk.master)).json()["data"]
    return str(key["_id"])


async def three_calls(desk: Desk) -> str:
    """Two of the key, on two days, and one of the credit id; the key's id."""
    key_id = await key_id_of(desk)
    account = desk.made.account_id
    await desk.book(
        *called(account, key_id, MONDAY - DAY, 105_000, upstream_id="chatcmpl-1"),
        *called(account, key_id, MONDAY, 1, error_code="upstream_error", rule="upstream_error"),
        *called(account, None, MONDAY + 1, 20, model="other/model", streamed=0),
    )
    return key_id


def asked(folder: Path, path: str, **options: Any) -> Answer:
    """The answer to a GET after `three_calls`."""

    async def body(desk: Desk) -> Answer:
        await three_calls(desk)
        desk.clock.now_ms = MONDAY + 1_000
        return await desk.ask("GET", path, **options)

    return visit(folder, body)


def test_history_is_ppqs_shape(tmp_path: Path) -> None:
    async def body(desk: Desk) -> tuple[str, Answer]:
        return await three_calls(desk), await desk.ask("GET", "/queries/history?page=2&page_count=1")

    key_id, answer = visit(tmp_path, body)
    assert answer.json() == {
        "data": [
            {
                "id": id_at(MONDAY - DAY),
                "timestamp": "2026-01-04T00:00:00.000Z",
                "model": "some/model",
                "input_count": 100,
                "output_count": 10,
                "price_in_usd": Decimal("0.000105"),
                "query_type": "chat_completion",
                "query_source": "api",
                "usage_counts": {"input": 80, "cache_read": 20, "output": 10},
                "api_key_id": key_id,
                "provider": "host",
                "rule": "complete",
                "error_code": None,
                "isOnline": False,
                "isFreeModel": False,
            }
        ],
        "page": 2,
        "page_count": 1,
        "has_more": False,
    }


@pytest.mark.parametrize(("query", "costs"), [("", 2), ("?all_keys=true", 3), ("?page_count=1&all_keys=1", 1)])
def test_a_key_sees_its_own_calls_unless_it_asks_for_all(tmp_path: Path, query: str, costs: int) -> None:
    assert len(asked(tmp_path, f"/queries/history{query}").json()["data"]) == costs


def test_history_takes_the_credit_id_in_the_query(tmp_path: Path) -> None:
    async def body(desk: Desk) -> Answer:
        await three_calls(desk)
        return await desk.ask("GET", f"/queries/history?credit_id={desk.made.credit_id}", headers={})

    answer = visit(tmp_path, body)
    assert (answer.status, len(answer.json()["data"])) == (200, 3)


@pytest.mark.parametrize("path", ["/key", "/credits", "/generation?id=x", "/usage"])
def test_nothing_else_takes_it_there(tmp_path: Path, path: str) -> None:
    async def body(desk: Desk) -> Answer:
        mark = "&" if "?" in path else "?"
        return await desk.ask("GET", f"{path}{mark}credit_id={desk.made.credit_id}", headers={})

    assert visit(tmp_path, body).status == 401


@pytest.mark.parametrize("query", ["page=0", "page=x", "page_count=0", "page_count=1001", "page=99999999999999999999"])
def test_a_bad_page_is_a_400_that_names_the_parameter(tmp_path: Path, query: str) -> None:
    answer = asked(tmp_path, f"/queries/history?{query}")
    assert (answer.status, answer.json()["error"]["param"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize("prefix", PREFIXES)
def test_key_shows_limit_and_usage(tmp_path: Path, prefix: str) -> None:
    async def body(desk: Desk) -> Answer:
        key_id = await three_calls(desk)
        change = '{"usage_limit_usd": 0.01, "reset_period": "daily"}'
        await desk.ask("PATCH", f"/keys/{key_id}", change, headers=desk.master)
        return await desk.ask("GET", f"{prefix}/key")

    data = visit(tmp_path, body).json()["data"]
    assert (data["label"], data["limit"], data["limit_remaining"]) == ("Default", Decimal("0.01"), Decimal("0.01"))
    assert (data["limit_reset"], data["usage"]) == ("daily", Decimal("0.000105001"))
    assert (data["usage_daily"], data["usage_monthly"]) == (Decimal("0.000000001"), Decimal("0.000105001"))
    assert (data["is_provisioning_key"], data["models"]) == (False, None)


def test_the_credit_id_has_no_limit(tmp_path: Path) -> None:
    async def body(desk: Desk) -> Answer:
        await three_calls(desk)
        return await desk.ask("GET", "/key", headers=desk.master)

    data = visit(tmp_path, body).json()["data"]
    assert (data["limit"], data["limit_remaining"], data["usage"]) == (None, None, Decimal("0.000105021"))


def test_what_remains_of_a_limit_is_never_below_zero(tmp_path: Path) -> None:
    async def body(desk: Desk) -> Answer:
        key_id = await key_id_of(desk)
        await desk.book(*called(desk.made.account_id, key_id, MONDAY, 20_000_000))
        await desk.ask("PATCH", f"/keys/{key_id}", '{"usage_limit_usd": 0.01}', headers=desk.master)
        return await desk.ask("GET", "/key")

    assert visit(tmp_path, body).json()["data"]["limit_remaining"] == 0


@pytest.mark.parametrize("prefix", PREFIXES)
def test_credits_are_the_accounts(tmp_path: Path, prefix: str) -> None:
    data = asked(tmp_path, f"{prefix}/credits").json()["data"]
    assert data == {"total_credits": Decimal("1.5"), "total_usage": Decimal("0.000105021")}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("id", [id_at(MONDAY - DAY), "chatcmpl-1"])
def test_a_generation_explains_its_price(tmp_path: Path, prefix: str, id: str) -> None:
    data = asked(tmp_path, f"{prefix}/generation?id={id}").json()["data"]
    assert (data["id"], data["upstream_id"], data["provider_name"]) == (id_at(MONDAY - DAY), "chatcmpl-1", "host")
    assert (data["tokens_prompt"], data["native_tokens_cached"], data["native_tokens_reasoning"]) == (100, 20, 0)
    assert (data["latency"], data["generation_time"], data["finish_reason"], data["streamed"]) == (
        40,
        900,
        "stop",
        True,
    )
    assert data["cost"] == data["total_cost"] == data["usage"] == data["settled"] == Decimal("0.000105")
    assert (data["held"], data["rule"], data["failed_attempts"]) == (Decimal("0.00021"), "complete", 1)
    assert data["lines"] == [
        {
            "unit": "input",
            "count": 80,
            "usd_per_million": Decimal("1.5"),
            "usd_per_unit": Decimal("0.0000015"),
            "usd": Decimal("0.00012"),
        }
    ]
    assert data["cache_saved"] == Decimal("0.000025")
    assert "shortfall" not in data and "attempts" not in data


@pytest.mark.parametrize("id", ["unknown", "", "%00", "%ED%A0%80", "x" * 201, "%F0%9F%92%B8"])
def test_an_unknown_generation_is_a_404(tmp_path: Path, id: str) -> None:
    answer = asked(tmp_path, f"/v1/generation?id={id}")
    assert (answer.status, answer.json()["error"]["param"]) == (404, "id")


def test_another_accounts_generation_is_a_404(tmp_path: Path) -> None:
    async def body(desk: Desk) -> Answer:
        await three_calls(desk)
        other = (await desk.ask("POST", "/accounts/create", headers={})).json()
        return await desk.ask("GET", f"/generation?id={id_at(MONDAY)}", headers={"x-api-key": other["api_key"]})

    assert visit(tmp_path, body).status == 404


def test_a_generation_without_id_is_a_400(tmp_path: Path) -> None:
    answer = asked(tmp_path, "/v1/generation")
    assert (answer.status, answer.json()["error"]["param"]) == (400, "id")


@pytest.mark.parametrize("path", ["/usage", "/v1/usage"])
def test_usage_by_day_is_the_default(tmp_path: Path, path: str) -> None:
    answer = asked(tmp_path, path).json()
    assert (answer["from"], answer["to"]) == ("2025-12-06T00:00:00.000Z", "2026-01-05T00:00:02.000Z")
    assert [(row["day"], row["requests"], row["failed"], row["cost_usd"]) for row in answer["data"]] == [
        ("2026-01-04", 1, 0, Decimal("0.000105")),
        ("2026-01-05", 1, 1, Decimal("0.000000001")),
    ]


def test_usage_by_model_and_key_of_the_whole_account(tmp_path: Path) -> None:
    answer = asked(tmp_path, "/v1/usage?group_by=model,key&all_keys=true&from=2026-01-05&to=2026-01-05").json()
    assert [(row["model"], row["key_name"], row["input_count"]) for row in answer["data"]] in (
        [("other/model", None, 100), ("some/model", "Default", 100)],
        [("some/model", "Default", 100), ("other/model", None, 100)],
    )


@pytest.mark.parametrize(("query", "headers"), [("?format=csv", {}), ("", {"accept": "text/csv"})])
def test_usage_comes_as_csv(tmp_path: Path, query: str, headers: dict[str, str]) -> None:
    async def body(desk: Desk) -> Answer:
        await three_calls(desk)
        desk.clock.now_ms = MONDAY + 1_000
        return await desk.ask("GET", f"/v1/usage{query}", headers=desk.master | headers)

    answer = visit(tmp_path, body)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.body.decode().split("\r\n") == [
        "day,requests,failed,input_count,output_count,cost_usd",
        "2026-01-04,1,0,100,10,0.000105",
        "2026-01-05,2,1,200,20,0.000000021",
        "",
    ]


def test_a_name_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    async def body(desk: Desk) -> Answer:
        key_id = await three_calls(desk)
        await desk.ask("PATCH", f"/keys/{key_id}", '{"name": "=1+1"}', headers=desk.master)
        desk.clock.now_ms = MONDAY + 1_000
        return await desk.ask("GET", "/v1/usage?group_by=key&format=csv")

    assert ",'=1+1,2," in visit(tmp_path, body).body.decode()


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("group_by=hour", "group_by"),
        ("group_by=", "group_by"),
        ("from=yesterday", "from"),
        ("to=x", "to"),
        ("from=2026-01-02&to=2026-01-01", "from"),
        ("from=2024-01-01&to=2026-01-01", "from"),
        ("from=0001-01-01", "from"),
        ("to=9999-12-31", "to"),
        ("format=xml", "format"),
    ],
)
def test_a_bad_parameter_is_a_400_that_names_it(tmp_path: Path, query: str, param: str) -> None:
    answer = asked(tmp_path, f"/v1/usage?{query}")
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
