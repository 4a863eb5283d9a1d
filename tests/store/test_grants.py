"""Codes for apps, on both databases: taken once, in time, and kept only as a hash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from perquery.store import credentials, grants
from perquery.store.grants import LASTS_MS, Grant
from perquery.store.opening import open_database
from perquery.store.tables import grants as rows
from tests.store.clock import Clock


def granted(account_id: int) -> Grant:
    return Grant(account_id, "challenge", "S256", "app.example", 5_000, "monthly")


def test_a_code_is_taken_once_and_in_time(migrated_url: str, clock: Clock) -> None:
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    given = granted(credentials.create_account(database).account_id)
    code, late = grants.put(database, given), grants.put(database, given)
    assert grants.take(database, "another") is None
    assert grants.take(database, code) == given
    assert grants.take(database, code) is None
    clock.now_ms += LASTS_MS
    assert grants.take(database, late) is None
    database.close()


def test_of_many_who_take_a_code_one_gets_it(migrated_url: str, clock: Clock) -> None:
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    code = grants.put(database, granted(credentials.create_account(database).account_id))
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: grants.take(database, code), range(8)))
    assert sum(each is not None for each in taken) == 1
    database.close()


def test_no_code_is_kept_and_old_ones_are_forgotten(migrated_url: str, clock: Clock) -> None:
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    given = granted(credentials.create_account(database).account_id)
    code = grants.put(database, given)
    with database.reader.connect() as connection:
        (row,) = connection.execute(select(rows)).all()
    assert code not in str(row)
    clock.now_ms += LASTS_MS
    grants.put(database, given)
    with database.reader.connect() as connection:
        assert len(connection.execute(select(rows)).all()) == 1
    database.close()
