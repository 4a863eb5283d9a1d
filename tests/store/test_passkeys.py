"""Passkeys and their challenges, on both databases: taken once and in time, counters that only grow, bounds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select

from perquery.errors import BadRequest
from perquery.store import credentials, passkeys
from perquery.store.opening import open_database
from perquery.store.passkeys import LASTS_MS, PASSKEYS_MAX, Passkey
from perquery.store.tables import challenges
from tests.store.clock import Clock


def test_a_challenge_is_taken_once_in_time_and_for_its_purpose(migrated_url: str, clock: Clock) -> None:
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    mine, theirs = (credentials.create_account(database).account_id for _ in range(2))
    made = passkeys.challenge(database, mine)
    with database.reader.connect() as connection:
        assert made not in tuple(connection.execute(select(challenges)).one())
    assert passkeys.take(database, made, mine) and not passkeys.take(database, made, mine)
    for account_id, wanted in ((mine, None), (None, mine), (mine, theirs)):
        other = passkeys.challenge(database, account_id)
        assert not passkeys.take(database, other, wanted) and not passkeys.take(database, other, account_id)
    late = passkeys.challenge(database, None)
    clock.now_ms += LASTS_MS
    assert not passkeys.take(database, late, None) and not passkeys.take(database, b"no challenge", None)
    database.close()


def test_of_many_who_take_a_challenge_one_gets_it(migrated_url: str, clock: Clock) -> None:
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    made = passkeys.challenge(database, None)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: passkeys.take(database, made, None), range(8))) == 1
    database.close()


def test_a_passkeys_counter_only_grows(migrated_url: str, clock: Clock) -> None:
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    account_id = credentials.create_account(database).account_id
    counting = Passkey(b"counts", account_id, b"key", 3, "key", clock.now_ms)
    never = Passkey(b"never counts", account_id, b"key", 0, "phone", clock.now_ms + 1)
    for each in (counting, never):
        passkeys.add(database, each)
    assert [passkeys.used(database, counting, count) for count in (3, 2, 4, 4, 0)] == [False, False, True, False, False]
    assert passkeys.used(database, never, 0) and passkeys.used(database, never, 0)
    assert passkeys.find(database, b"counts") == replace(counting, sign_count=4, used_at=clock.now_ms)
    assert [each.name for each in passkeys.listed(database, account_id)] == ["key", "phone"]
    database.close()


def test_a_removed_passkey_is_gone_and_only_its_account_removes_it(migrated_url: str, clock: Clock) -> None:
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    mine, theirs = (credentials.create_account(database).account_id for _ in range(2))
    passkey = Passkey(b"id", mine, b"key", 0, "key", clock.now_ms)
    passkeys.add(database, passkey)
    passkeys.remove(database, theirs, b"id")
    assert passkeys.find(database, b"id") == passkey
    with pytest.raises(BadRequest, match="there already"):
        passkeys.add(database, replace(passkey, account_id=theirs))
    passkeys.remove(database, mine, b"id")
    assert passkeys.find(database, b"id") is None and not passkeys.used(database, passkey, 1)
    database.close()


def test_an_account_has_so_many(migrated_url: str, clock: Clock) -> None:
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    account_id = credentials.create_account(database).account_id
    for number in range(PASSKEYS_MAX):
        passkeys.add(database, Passkey(b"%d" % number, account_id, b"key", 0, "key", clock.now_ms))
    with pytest.raises(BadRequest, match="already; remove one"):
        passkeys.add(database, Passkey(b"one more", account_id, b"key", 0, "key", clock.now_ms))
    database.close()
