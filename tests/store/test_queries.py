"""What the books answer: figures, credits, receipts and usage, of one account only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perquery.errors import NotFound
from perquery.money import Ratio
from perquery.store import credentials, queries
from perquery.store.credentials import Made
from perquery.store.database import Database
from perquery.store.opening import open_database
from perquery.store.operations import WHOLE, Credit, Hold, Reverse
from tests.store.calls import called, id_at
from tests.store.clock import MONDAY, Clock, apply_all

DAY = 86_400_000
WEDNESDAY = MONDAY + 2 * DAY
DEPOSIT = "deposits:test"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/perquery.db" if sqlite else request.getfixturevalue("postgres_url")
    database = open_database(url, mode="sandbox", clock=Clock(WEDNESDAY + 1_000))
    yield database
    database.close()


@pytest.fixture
def made(database: Database) -> Made:
    """An account with 1,000 of credit and 50 of bonus."""
    made = credentials.create_account(database)
    apply_all(database, Credit(made.account_id, "test:1", 1_000, DEPOSIT, Ratio(1, 20)))
    return made


def first_key(database: Database, made: Made) -> str:
    return credentials.list_keys(database, made.account_id)[0].id


def test_figures_add_up(database: Database, made: Made) -> None:
    apply_all(database, Hold("gen-live", made.account_id, None, 300, 300, WHOLE, WHOLE, True, "m"))
    assert queries.figures(database, made.account_id) == {
        "balance": 1_050,
        "available": 750,
        "held": 300,
        "owed": 0,
        "bonus": 50,
        "refundable": 700,
    }


def test_a_balance_is_below_zero_where_a_spent_deposit_was_taken_back(database: Database, made: Made) -> None:
    apply_all(database, *called(made.account_id, None, WEDNESDAY, 500), Reverse(made.account_id, "test:1", 1_000))
    figures = queries.figures(database, made.account_id)
    assert (figures["balance"], figures["available"], figures["owed"], figures["refundable"]) == (-500, 0, 500, 0)


def test_credits_less_usage_is_the_balance(database: Database, made: Made) -> None:
    other = credentials.create_account(database)
    apply_all(
        database,
        Credit(other.account_id, "test:other", 7, DEPOSIT),
        *called(made.account_id, None, WEDNESDAY, 500),
        *called(made.account_id, None, WEDNESDAY + 1, 200, number=1),
        Credit(made.account_id, "a:before the ids of calls", 10, DEPOSIT),
        Credit(made.account_id, "zeta:after them", 20, DEPOSIT),
    )
    assert queries.credited(database, made.account_id) == (1_080, 700)


def test_a_debt_and_its_payment_are_neither_credit_nor_usage(database: Database, made: Made) -> None:
    account = made.account_id
    apply_all(
        database,
        *called(account, None, WEDNESDAY, 500),
        Reverse(account, "test:1", 1_000),
        Credit(account, "test:2", 600, DEPOSIT),
    )
    assert queries.credited(database, account) == (600, 500)
    assert queries.figures(database, account)["balance"] == 100


def test_a_key_stands_where_its_calls_put_it(database: Database, made: Made) -> None:
    key_id = first_key(database, made)
    apply_all(
        database,
        *called(made.account_id, key_id, WEDNESDAY - 20 * DAY, 1),
        *called(made.account_id, key_id, MONDAY - 1, 10),
        *called(made.account_id, key_id, MONDAY, 100),
        *called(made.account_id, key_id, WEDNESDAY, 200),
        *called(made.account_id, None, WEDNESDAY, 3, number=1),
    )
    standing = queries.standing(database, made.account_id, key_id)
    assert standing.key is not None and standing.key.id == key_id
    assert standing.spent == queries.Spent(total=311, day=200, week=300, month=310)
    account = queries.standing(database, made.account_id, None)
    assert (account.key, account.spent) == (None, queries.Spent(total=314, day=203, week=303, month=313))
    assert account.figures["balance"] == 1_050 - 314


def test_no_standing_of_another_accounts_key(database: Database, made: Made) -> None:
    other = credentials.create_account(database)
    with pytest.raises(NotFound):
        queries.standing(database, made.account_id, first_key(database, other))


def test_history_is_newest_first_in_pages(database: Database, made: Made) -> None:
    key_id = first_key(database, made)
    other = credentials.create_account(database)
    apply_all(
        database,
        Credit(other.account_id, "test:other", 100, DEPOSIT),
        *called(other.account_id, None, WEDNESDAY, 9),
        *(op for n in range(3) for op in called(made.account_id, key_id, WEDNESDAY + n, 10 + n)),
        *called(made.account_id, None, WEDNESDAY + 3, 13, error_code="timeout"),
    )
    costs = [[r.cost_nano for r in queries.history(database, made.account_id, None, page, 2)] for page in (1, 2, 3)]
    assert costs == [[13, 12, 11], [11, 10], []]
    assert [r.cost_nano for r in queries.history(database, made.account_id, key_id, 1, 10)] == [12, 11, 10]
    newest = queries.history(database, made.account_id, None, 1, 1)[0]
    assert (newest.error_code, newest.held_nano, newest.streamed) == ("timeout", 26, True)


def test_a_call_is_found_by_either_id_by_its_account_alone(database: Database, made: Made) -> None:
    other = credentials.create_account(database)
    apply_all(database, *called(made.account_id, None, WEDNESDAY, 10, upstream_id="chatcmpl-1"))
    receipt = queries.generation(database, made.account_id, id_at(WEDNESDAY))
    assert receipt is not None and receipt.detail["usage"]["cache_read"] == 20
    assert queries.generation(database, made.account_id, "chatcmpl-1") == receipt
    for id in (id_at(WEDNESDAY), "chatcmpl-1"):
        assert queries.generation(database, other.account_id, id) is None
    assert queries.generation(database, made.account_id, "chatcmpl-2") is None


def test_of_two_calls_with_one_upstream_id_the_newest_is_found(database: Database, made: Made) -> None:
    calls = [called(made.account_id, None, WEDNESDAY + n, 10 + n, upstream_id="same") for n in range(2)]
    apply_all(database, *(op for call in calls for op in call))
    receipt = queries.generation(database, made.account_id, "same")
    assert receipt is not None and receipt.cost_nano == 11


def test_usage_adds_up_by_day_key_and_model(database: Database, made: Made) -> None:
    key_id = first_key(database, made)
    apply_all(
        database,
        *called(made.account_id, key_id, MONDAY, 1),
        *called(made.account_id, key_id, MONDAY + DAY - 1, 2, model="other/model"),
        *called(made.account_id, None, MONDAY + DAY, 4, error_code="timeout"),
        *called(made.account_id, None, WEDNESDAY, 8),
    )
    rows = queries.usage(database, made.account_id, None, ["day"], MONDAY, WEDNESDAY)
    assert [(r.day, r.requests, r.failed, r.cost_nano) for r in rows] == [(MONDAY, 2, 0, 3), (MONDAY + DAY, 1, 1, 4)]
    rows = queries.usage(database, made.account_id, None, ["key"], MONDAY, WEDNESDAY + 1)
    assert {(r.key_id, r.key_name): (r.cost_nano, r.input_count) for r in rows} == {
        (key_id, "Default"): (3, 200),
        (None, None): (12, 200),
    }
    rows = queries.usage(database, made.account_id, key_id, ["model", "day"], MONDAY, WEDNESDAY)
    assert [(r.day, r.model, r.cost_nano) for r in rows] == [(MONDAY, "other/model", 2), (MONDAY, "some/model", 1)]


def test_no_usage_is_no_row(database: Database, made: Made) -> None:
    assert queries.usage(database, made.account_id, None, ["day"], MONDAY, WEDNESDAY) == []


def test_the_database_answers(database: Database) -> None:
    queries.ping(database)
