"""Who calls: which credential counts, what is remembered of it, and how many accounts an address may make."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from perquery import accounts
from perquery.accounts import Access, Accounts, Allowance, credential, credentials_in
from perquery.config import Limits, Settings
from perquery.errors import LedgerUnavailable, TooManyRequests, Unauthorized
from perquery.store import credentials
from perquery.store.database import Database
from perquery.store.opening import open_database
from tests.store.clock import MONDAY, Clock

BEARER = (b"authorization", b"Bearer sk-bearer")
CREDIT = (b"x-credit-id", b"credit")
X_KEY = (b"x-api-key", b"sk-x")
KEY = (b"api-key", b"sk-plain")
OTHER = (b"user-agent", b"test")


class Seconds:
    """A clock for the limit of new accounts."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path}/perquery.db", mode="sandbox", clock=clock)
    yield database
    database.close()


@pytest.fixture
def desk(database: Database, seconds: Seconds) -> Accounts:
    return Accounts(database, Settings(limits=Limits(accounts_per_address_hour=2)), seconds)


def refusal(work: Coroutine[Any, Any, Access]) -> Unauthorized:
    with pytest.raises(Unauthorized) as raised:
        asyncio.run(work)
    return raised.value


@pytest.mark.parametrize(
    ("headers", "query", "found"),
    [
        ([KEY, X_KEY, CREDIT, BEARER], b"", b"sk-bearer"),
        ([KEY, X_KEY, CREDIT], b"credit_id=q", b"credit"),
        ([KEY, X_KEY], b"", b"sk-x"),
        ([OTHER, KEY], b"", b"sk-plain"),
        ([(b"authorization", b"bEaReR  sk-a ")], b"", b"sk-a"),
        ([(b"authorization", b"Basic dTpw"), X_KEY], b"", b"sk-x"),
        ([(b"authorization", b"sk-without-scheme")], b"", None),
        ([X_KEY, (b"x-api-key", b"sk-second")], b"", b"sk-x"),
        ([OTHER], b"page=1&credit_id=a%2Db&credit_id=c", b"a-b"),
        ([OTHER], b"page=1", None),
        ([], b"", None),
    ],
)
def test_the_first_in_the_order_of_precedence_counts(
    headers: list[tuple[bytes, bytes]], query: bytes, found: bytes | None
) -> None:
    assert credentials_in(headers, query) == found


@pytest.mark.parametrize("value", [b"", b"   ", b"x" * 513])
@pytest.mark.parametrize("name", [b"x-credit-id", b"x-api-key", b"api-key", b"authorization"])
def test_an_empty_or_overlong_credential_is_refused(name: bytes, value: bytes) -> None:
    sent = b"Bearer " + value if name == b"authorization" else value
    with pytest.raises(Unauthorized):
        credentials_in([(name, sent)])


@pytest.mark.parametrize("value", [b"Bearer", b"bearer "])
def test_bearer_of_nothing_is_refused(value: bytes) -> None:
    with pytest.raises(Unauthorized):
        credentials_in([(b"authorization", value)])


def test_a_key_and_a_credit_id_prove_the_same_account(desk: Accounts) -> None:
    made = asyncio.run(desk.create("10.0.0.1"))
    by_key = asyncio.run(desk.authenticate(credential(made.api_key)))
    by_id = asyncio.run(desk.authenticate(credential(made.credit_id)))
    assert by_key.account_id == by_id.account_id == made.account_id
    assert (by_key.master, by_id.master, by_id.key_id) == (False, True, None)


def test_what_was_seen_is_remembered_by_its_hash_alone(desk: Accounts) -> None:
    made = asyncio.run(desk.create("10.0.0.1"))
    given = credential(made.api_key)
    assert desk.cached(given) is None
    access = asyncio.run(desk.authenticate(given))
    assert desk.cached(given) == access
    assert made.api_key not in repr(vars(desk))


def test_the_longest_unused_is_forgotten_first(desk: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "CACHED_MAX", 2)
    made = asyncio.run(desk.create("10.0.0.1"))
    other = asyncio.run(desk.create("10.0.0.1"))
    shown = [credential(text) for text in (made.api_key, made.credit_id, other.api_key)]
    asyncio.run(desk.authenticate(shown[0]))
    asyncio.run(desk.authenticate(shown[1]))
    desk.cached(shown[0])
    asyncio.run(desk.authenticate(shown[2]))
    assert [desk.cached(given) is not None for given in shown] == [True, False, True]


@pytest.mark.parametrize("given", ["sk-unknown", "00000000-0000-4000-8000-000000000000", "\ud800", "ключ"])
def test_an_unknown_credential_is_refused_and_not_remembered(desk: Accounts, given: str) -> None:
    error = refusal(desk.authenticate(credential(given)))
    assert (error.code, "API key not found or has been revoked" in error.message) == ("invalid_api_key", True)
    assert desk.cached(credential(given)) is None


def test_no_credential_is_refused_with_what_to_send(desk: Accounts) -> None:
    error = refusal(desk.authenticate(None))
    assert error.code == "missing_credentials"
    assert all(name in error.message for name in ("Authorization", "x-credit-id", "x-api-key"))


def test_a_revoked_key_is_refused_where_nothing_is_held(desk: Accounts, database: Database) -> None:
    made = asyncio.run(desk.create("10.0.0.1"))
    given = credential(made.api_key)
    access = asyncio.run(desk.authenticate(given))
    assert access.key_id is not None
    credentials.delete_key(database, made.account_id, access.key_id)  # as another worker does it
    scope = {"headers": [(b"authorization", b"Bearer " + given)]}
    assert desk.known(scope) == access
    assert refusal(desk.caller(scope)).code == "invalid_api_key"
    assert refusal(desk.authenticate(given)).code == "invalid_api_key"


def test_who_was_never_seen_is_not_known(desk: Accounts) -> None:
    made = asyncio.run(desk.create("10.0.0.1"))
    scope = {"headers": [(b"x-api-key", made.api_key.encode())]}
    assert desk.known(scope) is None
    assert desk.known({"headers": []}) is None
    assert desk.known(scope | {accounts.RECOGNISED: Access(7, None)}) == Access(7, None)
    assert asyncio.run(desk.caller(scope)) == desk.known(scope)


def test_an_expired_key_is_refused_where_nothing_is_held(desk: Accounts, clock: Clock) -> None:
    made = asyncio.run(desk.create("10.0.0.1"))
    settings = {"name": "short", "expire_at": MONDAY + 1_000}
    _, secret = asyncio.run(desk.create_key(made.account_id, settings))
    clock.now_ms = MONDAY + 999
    asyncio.run(desk.authenticate(credential(secret)))
    clock.now_ms = MONDAY + 1_000
    assert refusal(desk.authenticate(credential(secret))).code == "api_key_expired"


def test_a_database_that_is_away_is_a_503(tmp_path: Path, seconds: Seconds) -> None:
    nowhere = Database(f"sqlite:///{tmp_path}/nothing/perquery.db")
    with pytest.raises(LedgerUnavailable):
        asyncio.run(Accounts(nowhere, Settings(), seconds).authenticate(credential("sk-any")))
    nowhere.close()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
        ("unix", "10.0.0.1", False),
    ],
)
def test_an_address_makes_so_many_accounts_an_hour(desk: Accounts, first: str, second: str, same: bool) -> None:
    for _ in range(2):
        asyncio.run(desk.create(first))
    if same:
        with pytest.raises(TooManyRequests) as refused:
            asyncio.run(desk.create(second))
        assert refused.value.headers["retry-after"] == "1800"
    else:
        asyncio.run(desk.create(second))


def test_an_allowance_comes_back_steadily(seconds: Seconds) -> None:
    allowance = Allowance(3, 3_600, seconds)
    assert [allowance.take("a") for _ in range(4)] == [0, 0, 0, 1_200]
    seconds.now = 1_199.5
    assert allowance.take("a") == 1
    seconds.now = 1_200
    assert [allowance.take("a") for _ in range(2)] == [0, 1_200]
    seconds.now = 10_000
    assert [allowance.take("a") for _ in range(4)] == [0, 0, 0, 1_200]


def test_an_allowance_remembers_a_bounded_number_of_names(seconds: Seconds) -> None:
    allowance = Allowance(1, 60, seconds, names_max=2)
    assert [allowance.take(name) for name in ("a", "b", "c", "c", "a")] == [0, 0, 0, 60, 0]
