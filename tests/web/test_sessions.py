"""Cookies: who is signed in, for how long, and what no changed or foreign cookie can do."""

from __future__ import annotations

import pytest

from perquery.accounts import Access
from perquery.web.sessions import LASTS_S, OPERATOR_LASTS_S, Claim, Sessions, cookie_name

OWNER = Access(7, None, "random-id-of-the-account")
HOLDER = Access(7, "0123456789abcdef01234567", "random-id-of-the-account")


class Hands:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("access", [OWNER, HOLDER])
def test_a_cookie_says_who_signed_in(access: Access) -> None:
    sessions = Sessions(b"k" * 32, Hands())
    claim = sessions.read(sessions.written(access))
    assert claim is not None
    assert (claim.account_id, claim.key_id) == (access.account_id, access.key_id)
    assert sessions.belongs(claim, access)


def test_a_cookie_is_over_when_its_time_is() -> None:
    clock = Hands()
    sessions = Sessions(b"k" * 32, clock)
    cookie, operators = sessions.written(OWNER), sessions.written_for_operator()
    clock.now_s += OPERATOR_LASTS_S - 1
    assert sessions.read(cookie) and sessions.is_operator(operators)
    clock.now_s += 1
    assert not sessions.is_operator(operators)
    clock.now_s += LASTS_S - OPERATOR_LASTS_S
    assert sessions.read(cookie) is None


def test_a_cookie_that_was_changed_says_nothing() -> None:
    sessions = Sessions(b"k" * 32, Hands())
    cookie = sessions.written(OWNER)
    for position in range(len(cookie)):
        changed = cookie[:position] + chr(ord(cookie[position]) ^ 1) + cookie[position + 1 :]
        assert sessions.read(changed) is None
    for cut in ("", ".", cookie[:-1], cookie + "A", cookie.rpartition(".")[0], "7" + cookie, "ü", "9" * 400):
        assert sessions.read(cut) is None


def test_a_cookie_of_another_key_says_nothing() -> None:
    theirs = Sessions(b"x" * 32, Hands())
    ours = Sessions(b"k" * 32, Hands())
    assert ours.read(theirs.written(OWNER)) is None
    assert not ours.is_operator(theirs.written_for_operator())


def test_a_visitors_cookie_is_no_operators_and_the_reverse() -> None:
    sessions = Sessions(b"k" * 32, Hands())
    assert not sessions.is_operator(sessions.written(OWNER))
    assert sessions.read(sessions.written_for_operator()) is None


def test_a_cookie_means_nothing_to_an_account_that_has_the_number_now() -> None:
    sessions = Sessions(b"k" * 32, Hands())
    claim = sessions.read(sessions.written(OWNER))
    assert isinstance(claim, Claim)
    assert not sessions.belongs(claim, Access(7, None, "another-random-id"))


def test_without_a_key_nobody_is_signed_in() -> None:
    sessions = Sessions(None, Hands())
    assert not sessions.possible
    assert sessions.read(Sessions(b"k" * 32, Hands()).written(OWNER)) is None


def test_the_cookies_name_binds_it_to_the_host_over_tls() -> None:
    assert cookie_name(secure=False) == "perquery"
    assert cookie_name(secure=True, operator=True) == "__Host-perquery-operator"
