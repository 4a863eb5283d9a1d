"""Connection strings: what is taken, what is refused in which words, and that the secret does not show."""

from __future__ import annotations

import pytest
from nostr_sdk import Keys, NostrWalletConnectUri

from perquery.nwc import Connection

WALLET = Keys.parse("11" * 32).public_key().to_hex()
SECRET = "22" * 32
GOOD = f"nostr+walletconnect://{WALLET}?relay=wss%3A%2F%2Frelay.example%2Fv1&secret={SECRET}"


def test_a_wallets_string() -> None:
    assert Connection.parse(GOOD) == Connection(WALLET, ("wss://relay.example/v1",), SECRET, None)


@pytest.mark.parametrize(
    "written",
    [
        GOOD.replace("://", ":"),
        GOOD.replace("nostr+walletconnect", "nostrwalletconnect"),
        GOOD.upper()
        .replace("%3A%2F%2FRELAY.EXAMPLE%2FV1&SECRET", "%3A%2F%2Frelay.example%2Fv1&secret")
        .replace("RELAY=WSS", "relay=wss"),
        f"  {GOOD}\n",
        GOOD + "&relay=wss%3A%2F%2Frelay.example%2Fv1",
    ],
)
def test_other_ways_to_write_it(written: str) -> None:
    assert Connection.parse(written) == Connection.parse(GOOD)


def test_several_relays_and_an_address() -> None:
    found = Connection.parse(GOOD + "&relay=wss://other.example&lud16=me%40wallet.example")
    assert found.relays == ("wss://relay.example/v1", "wss://other.example")
    assert found.lud16 == "me@wallet.example"


def test_there_and_back_also_as_others_read_it() -> None:
    found = Connection.parse(GOOD + "&relay=wss://other.example&lud16=me%40wallet.example")
    assert Connection.parse(found.uri()) == found
    read = NostrWalletConnectUri.parse(found.uri())
    assert (read.public_key().to_hex(), read.secret().to_hex(), read.lud16()) == (WALLET, SECRET, "me@wallet.example")
    assert [str(relay) for relay in read.relays()] == ["wss://relay.example/v1", "wss://other.example"]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "begins with nostr"),
        ("lnbc1xyz", "begins with nostr"),
        (GOOD.replace("nostr+walletconnect", "https"), "begins with nostr"),
        (GOOD + "x" * 5000, "begins with nostr"),
        (GOOD.replace(WALLET, WALLET[:-1]), "not a public key"),
        (GOOD.replace(WALLET, "ff" * 32), "not a public key"),
        (GOOD.replace(SECRET, "00" * 32), "secret is not a key"),
        (GOOD.replace(SECRET, SECRET[:-1]), "secret is not a key"),
        (GOOD.partition("&")[0], "one secret, and has none"),
        (GOOD + "&secret=" + "33" * 32, "one secret, and has 2"),
        (GOOD.replace("relay=", "relais="), "names no relay"),
        (GOOD + "".join(f"&relay=wss://r{n}.example" for n in range(5)), "more than 5 relays"),
        (GOOD + "".join(f"&f{n}=1" for n in range(40)), "too many fields"),
        (GOOD.replace("wss%3A", "https%3A"), "begins with wss://"),
        (GOOD.replace("relay.example", ""), "begins with wss://"),
        (GOOD.replace("relay.example", "relay.example%3A99999"), "begins with wss://"),
        (GOOD.replace("relay.example", "me%3Apw%40relay.example"), "must not hold a user"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(written: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Connection.parse(written)
    assert SECRET not in str(caught.value)


def test_the_secret_does_not_show() -> None:
    assert SECRET not in repr(Connection.parse(GOOD))
