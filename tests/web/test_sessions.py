"""Cookies: they name a session, and a changed or foreign one names nothing."""

from __future__ import annotations

from perquery.web.sessions import Sessions, cookie_name

OURS = Sessions(b"k" * 32)


def test_a_cookie_names_its_session() -> None:
    assert OURS.read(OURS.written("random-id_1")) == "random-id_1"


def test_a_cookie_that_was_changed_names_nothing() -> None:
    cookie = OURS.written("random-id")
    for position in range(len(cookie)):
        changed = cookie[:position] + chr(ord(cookie[position]) ^ 1) + cookie[position + 1 :]
        assert OURS.read(changed) is None
    for cut in ("", ".", cookie[:-1], cookie + "A", cookie.rpartition(".")[0], "7" + cookie, "ü", "9" * 400):
        assert OURS.read(cut) is None


def test_a_cookie_of_another_key_names_nothing() -> None:
    assert OURS.read(Sessions(b"x" * 32).written("random-id")) is None


def test_without_a_key_nobody_is_signed_in() -> None:
    keyless = Sessions(None)
    assert not keyless.possible
    assert keyless.read(OURS.written("random-id")) is None


def test_the_cookies_name_binds_it_to_the_host_over_tls() -> None:
    assert cookie_name(secure=False) == "perquery"
    assert cookie_name(secure=True, operator=True) == "__Host-perquery-operator"
