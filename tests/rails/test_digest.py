"""Digest: RFC 2617's own example (MD5, "auth"), and challenges that cannot be answered."""

from __future__ import annotations

import pytest

from perquery.rails.digest import authorization

NONCE = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
CHALLENGE = f'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="{NONCE}", opaque="5ccc069c403ebaf9"'
MUFASA = ("Mufasa", "Circle Of Life", "GET", "/dir/index.html")


def test_the_example() -> None:
    header = authorization(CHALLENGE, *MUFASA, count=1, client_nonce="0a4f113b")
    assert 'response="6629fae49393a05397450978507c4ef1"' in header
    assert "nc=00000001" in header and 'opaque="5ccc069c403ebaf9"' in header


def test_the_first_that_can_be_answered_is() -> None:
    sess = f'Digest qop="auth",algorithm=MD5-sess,realm="r",nonce="{NONCE}"'
    plain = 'Digest qop="auth",algorithm=MD5,realm="monero-rpc",nonce="other",stale=false'
    assert 'nonce="other"' in authorization(f"{sess}, {plain}", *MUFASA, count=1, client_nonce="0a")


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        'Basic realm="x"',
        'Digest realm="x", nonce="y"',
        'Digest realm="x", nonce="y", qop="auth", algorithm=SHA-256',
    ],
)
def test_another_way_to_log_in(challenge: str) -> None:
    with pytest.raises(ValueError, match="another way"):
        authorization(challenge, *MUFASA, count=1, client_nonce="0a")
