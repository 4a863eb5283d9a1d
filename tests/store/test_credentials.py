"""Accounts and keys as rows: secrets hashed, names unique, figures never touched but for a new period."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from perquery.errors import BadRequest, NotFound
from perquery.store import credentials
from perquery.store.credentials import Made
from perquery.store.database import Database
from perquery.store.opening import open_database
from perquery.store.operations import WHOLE, Credit, Hold, Release, Settle
from perquery.store.tables import accounts, api_keys
from tests.store.clock import MONDAY, Clock, apply_all

DAY = 86_400_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Database]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/perquery.db" if sqlite else request.getfixturevalue("postgres_url")
    database = open_database(url, mode="sandbox", clock=clock)
    yield database
    database.close()


def named(database: Database, account: str) -> int | None:
    with database.reader.begin() as connection:
        return credentials.account_named(connection, account)


def figures(database: Database, key_id: str) -> tuple[int, int, int, int]:
    columns = (api_keys.c.period, api_keys.c.period_used, api_keys.c.period_held, api_keys.c.total_used)
    with database.reader.begin() as connection:
        row = connection.execute(select(*columns).where(api_keys.c.id == key_id)).one()
    return row[0], row[1], row[2], row[3]


def hold(made: Made, key_id: str, id: str, amount: int) -> Hold:
    return Hold(id, made.account_id, key_id, amount, amount, WHOLE, WHOLE, True, "m")


def test_a_new_account_has_one_key_and_no_secret_in_the_database(database: Database) -> None:
    made = credentials.create_account(database)
    assert made.api_key.startswith("sk-") and len(made.api_key) >= 43 and len(made.credit_id) == 36
    with database.reader.begin() as connection:
        rows = [*connection.execute(select(accounts)), *connection.execute(select(api_keys))]
    stored = repr([tuple(row) for row in rows])
    assert made.api_key not in stored and made.credit_id not in stored
    (key,) = credentials.list_keys(database, made.account_id)
    assert (key.name, len(key.id), key.limit_nano, key.models) == ("Default", 24, None, None)


def test_credentials_prove_whose_they_are(database: Database) -> None:
    made, other = credentials.create_account(database), credentials.create_account(database)
    with database.reader.begin() as connection:
        by_key = credentials.proven(connection, credentials.digest(made.api_key), is_key=True)
        by_id = credentials.proven(connection, credentials.digest(other.credit_id), is_key=False)
        unknown = credentials.proven(connection, credentials.digest("sk-unknown"), is_key=True)
    assert by_key is not None and by_id is not None and unknown is None
    assert (by_key.account_id, by_id.account_id, by_id.key_id) == (made.account_id, other.account_id, None)


def test_an_operator_names_an_account_in_three_ways(database: Database) -> None:
    made = credentials.create_account(database)
    for name in (made.credit_id, made.api_key, str(made.account_id)):
        assert named(database, name) == made.account_id
    for name in ("sk-unknown", "nobody", "9" * 18, "9" * 50, "²", ""):
        assert named(database, name) is None


def test_a_key_keeps_what_it_was_given(database: Database) -> None:
    made = credentials.create_account(database)
    settings = {
        "name": "laptop",
        "limit_nano": 5,
        "reset_period": "weekly",
        "expire_at": MONDAY + DAY,
        "models": ["a/b", "c/d"],
        "prompt_caching": False,
    }
    key, secret = credentials.create_key(database, made.account_id, settings)
    assert (key.name, key.limit_nano, key.reset_period, key.expire_at) == ("laptop", 5, "weekly", MONDAY + DAY)
    assert (key.models, key.reset_at, key.prompt_caching) == (("a/b", "c/d"), MONDAY + 7 * DAY, False)
    assert named(database, secret) == made.account_id
    assert credentials.get_key(database, made.account_id, key.id) == key


def test_names_are_unique_among_the_keys_of_an_account(database: Database) -> None:
    made, other = credentials.create_account(database), credentials.create_account(database)
    key, _ = credentials.create_key(database, made.account_id, {"name": "laptop"})
    credentials.create_key(database, other.account_id, {"name": "laptop"})
    with pytest.raises(BadRequest, match="laptop"):
        credentials.create_key(database, made.account_id, {"name": "laptop"})
    with pytest.raises(BadRequest, match="Default"):
        credentials.change_key(database, made.account_id, key.id, {"name": "Default"})
    credentials.change_key(database, made.account_id, key.id, {"name": "laptop"})
    credentials.delete_key(database, made.account_id, key.id)
    credentials.create_key(database, made.account_id, {"name": "laptop"})


def test_an_account_has_a_bounded_number_of_keys(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "KEYS_MAX", 2)
    made = credentials.create_account(database)
    credentials.create_key(database, made.account_id, {"name": "second"})
    with pytest.raises(BadRequest, match="at most 2"):
        credentials.create_key(database, made.account_id, {"name": "third"})


def test_a_change_leaves_the_rest(database: Database, clock: Clock) -> None:
    made = credentials.create_account(database)
    key, _ = credentials.create_key(database, made.account_id, {"name": "laptop", "limit_nano": 5, "models": ["a"]})
    clock.now_ms += 1_000
    changed = credentials.change_key(database, made.account_id, key.id, {"limit_nano": None})
    assert (changed.limit_nano, changed.models, changed.name) == (None, ("a",), "laptop")
    assert (changed.created_at, changed.updated_at) == (MONDAY, MONDAY + 1_000)


def test_nothing_but_settings_can_be_set(database: Database) -> None:
    made = credentials.create_account(database)
    (key,) = credentials.list_keys(database, made.account_id)
    with pytest.raises(KeyError):
        credentials.change_key(database, made.account_id, key.id, {"period_used": 0})


def test_an_expiry_lies_ahead(database: Database) -> None:
    made = credentials.create_account(database)
    with pytest.raises(BadRequest, match="expire_at"):
        credentials.create_key(database, made.account_id, {"name": "late", "expire_at": MONDAY})


def test_a_deleted_key_stays_as_a_row_that_never_changes(database: Database, clock: Clock) -> None:
    made = credentials.create_account(database)
    (key,) = credentials.list_keys(database, made.account_id)
    gone = credentials.delete_key(database, made.account_id, key.id)
    clock.now_ms += 1
    assert credentials.delete_key(database, made.account_id, key.id) == gone
    assert gone.deleted_at == MONDAY
    with pytest.raises(NotFound):
        credentials.change_key(database, made.account_id, key.id, {"name": "again"})


@pytest.mark.parametrize("key_id", ["", "x", "0" * 24, "0" * 23 + "\0", "é" * 24, "A" * 24])
def test_no_key_is_found_by_an_impossible_id(database: Database, key_id: str) -> None:
    made = credentials.create_account(database)
    for ask in (credentials.get_key, credentials.delete_key):
        with pytest.raises(NotFound):
            ask(database, made.account_id, key_id)


def test_another_accounts_key_is_not_found(database: Database) -> None:
    made, other = credentials.create_account(database), credentials.create_account(database)
    (key,) = credentials.list_keys(database, other.account_id)
    for ask in (credentials.get_key, credentials.delete_key):
        with pytest.raises(NotFound):
            ask(database, made.account_id, key.id)


def spending_key(database: Database, made: Made, reset_period: str | None) -> str:
    """A key that has spent 30 and holds 20 of its account's 1,000."""
    settings = {"name": "spender", "limit_nano": 100, "reset_period": reset_period}
    key, _ = credentials.create_key(database, made.account_id, settings)
    apply_all(
        database,
        Credit(made.account_id, "test:1", 1_000, "deposits:test"),
        hold(made, key.id, "a", 30),
        Settle("a", made.account_id, key.id, 30),
        hold(made, key.id, "b", 20),
    )
    return key.id


def test_a_hold_says_whether_its_key_lets_prompts_be_marked(database: Database) -> None:
    made = credentials.create_account(database)
    key_id = spending_key(database, made, None)
    said: list[bool] = []
    for id, caching in (("c", True), ("d", False), ("d", False), ("e", True)):  # the second "d" is a replay
        credentials.change_key(database, made.account_id, key_id, {"prompt_caching": caching})
        (result,) = apply_all(database, hold(made, key_id, id, 1))
        said.append(result.caching)
    assert said == [True, False, False, True]


@pytest.mark.parametrize("changes", [{"name": "x"}, {"limit_nano": 10}, {"models": ["m"]}, {"reset_period": "weekly"}])
def test_a_change_never_touches_the_running_figures(database: Database, changes: dict[str, Any]) -> None:
    made = credentials.create_account(database)  # it is Monday: the week began with the day
    key_id = spending_key(database, made, "daily")
    before = figures(database, key_id)
    changed = credentials.change_key(database, made.account_id, key_id, changes)
    assert figures(database, key_id) == before == (MONDAY, 30, 20, 30)
    assert (changed.used_nano, changed.held_nano, changed.total_nano) == (30, 20, 30)


def test_another_period_counts_from_its_change(database: Database) -> None:
    made = credentials.create_account(database)
    key_id = spending_key(database, made, None)
    changed = credentials.change_key(database, made.account_id, key_id, {"reset_period": "daily"})
    assert (changed.used_nano, changed.held_nano, changed.total_nano) == (0, 0, 30)
    (ended,) = apply_all(database, Release("b", made.account_id, key_id))
    assert ended.status == "APPLIED"
    assert figures(database, key_id) == (MONDAY, 0, 0, 30)


def test_a_period_changed_back_still_has_its_live_holds(database: Database) -> None:
    made = credentials.create_account(database)
    key_id = spending_key(database, made, None)
    credentials.change_key(database, made.account_id, key_id, {"reset_period": "daily"})
    credentials.change_key(database, made.account_id, key_id, {"reset_period": None})
    assert figures(database, key_id) == (0, 0, 20, 30)
    (ended,) = apply_all(database, Settle("b", made.account_id, key_id, 20))
    assert ended.status == "APPLIED"
    assert figures(database, key_id) == (0, 20, 0, 50)


def test_usage_of_an_earlier_period_is_not_shown(database: Database, clock: Clock) -> None:
    made = credentials.create_account(database)
    key_id = spending_key(database, made, "daily")
    clock.now_ms += DAY
    key = credentials.get_key(database, made.account_id, key_id)
    assert (key.used_nano, key.held_nano, key.total_nano, key.reset_at) == (0, 0, 30, MONDAY + 2 * DAY)


@pytest.mark.parametrize(
    ("reset_period", "now_ms", "end_ms"),
    [
        (None, MONDAY, None),
        ("daily", MONDAY + DAY - 1, MONDAY + DAY),
        ("weekly", MONDAY + 6 * DAY, MONDAY + 7 * DAY),
        ("monthly", 1_767_225_600_000, 1_769_904_000_000),  # January 2026
        ("monthly", 1_769_904_000_000 + 27 * DAY, 1_769_904_000_000 + 28 * DAY),  # February 28
        ("monthly", 1_798_761_599_999, 1_798_761_600_000),  # December 31
    ],
)
def test_a_period_ends_where_the_next_begins(reset_period: str | None, now_ms: int, end_ms: int | None) -> None:
    assert credentials.period_end(reset_period, now_ms) == end_ms
