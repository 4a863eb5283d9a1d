"""Sessions of the site, on both databases: they end when they are told to, or by time, and no id is kept."""

from __future__ import annotations

from sqlalchemy import select

from perquery.store import credentials, sessions
from perquery.store.database import Database
from perquery.store.opening import open_database
from perquery.store.sessions import Session
from perquery.store.tables import web_sessions
from tests.store.clock import Clock

LASTS_S = 60


def held(database: Database, id: str) -> Session | None:
    with database.reader.begin() as connection:
        return sessions.held(connection, id, database.now_ms())


def test_a_session_goes_on_until_its_time_is_over(migrated_url: str, clock: Clock) -> None:
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    mine = Session(credentials.create_account(database).account_id, "a-key")
    id = sessions.begin(database, mine, LASTS_S)
    clock.now_ms += LASTS_S * 1_000 - 1
    assert held(database, id) == mine and held(database, "another") is None
    clock.now_ms += 1
    assert held(database, id) is None and sessions.count(database, mine.account_id or 0) == 0
    sessions.begin(database, mine, LASTS_S)
    with database.reader.connect() as connection:
        (row,) = connection.execute(select(web_sessions)).all()  # the old one is forgotten
    assert id not in str(row)
    database.close()


def test_one_is_ended_or_all_of_an_account(migrated_url: str, clock: Clock) -> None:
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    mine, theirs = (credentials.create_account(database).account_id for _ in range(2))
    first, second, third = (sessions.begin(database, Session(mine), LASTS_S) for _ in range(3))
    other, house = sessions.begin(database, Session(theirs), LASTS_S), sessions.begin(database, Session(None), LASTS_S)
    sessions.end(database, first)
    assert [held(database, id) for id in (first, second)] == [None, Session(mine)]
    assert sessions.count(database, mine) == 2
    sessions.end_all(database, mine)
    assert [held(database, id) for id in (second, third, other)] == [None, None, Session(theirs)]
    assert sessions.is_operators(database, house) and not sessions.is_operators(database, other)
    database.close()
