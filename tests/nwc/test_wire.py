"""NIP-47's events: what is written, and what of an incoming one is believed."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from nostr_sdk import Event, EventBuilder, Keys, Kind, Tag

from perquery.nwc import Connection, WalletError, wire

AT = 1_800_000_000
WALLET, APP, OTHER = Keys.parse("11" * 32), Keys.parse("22" * 32), Keys.parse("33" * 32)
CONNECTION = Connection(WALLET.public_key().to_hex(), ("wss://relay.example",), "22" * 32)
ID = "ab" * 32


def event(content: str, kind: int, *tags: list[str], by: Keys = WALLET) -> dict[str, Any]:
    made = EventBuilder(Kind(kind), content).tags([Tag.parse(tag) for tag in tags]).finalize(by)
    read: dict[str, Any] = json.loads(made.as_json())
    return read


def answer(body: Any, *, by: Keys = WALLET, kind: int = wire.RESPONSE, old: bool = False, to: str = ID) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    encrypt = by.nip04_encrypt if old else by.nip44_encrypt
    return event(encrypt(APP.public_key(), text), kind, ["p", APP.public_key().to_hex()], ["e", to], by=by)


@pytest.mark.parametrize("encryption", ["nip44_v2", "nip04"])
def test_a_request_is_what_its_wallet_reads(encryption: str) -> None:
    text = wire.sign(CONNECTION, "pay_invoice", {"invoice": "lnbc1"}, encryption, AT + 900, AT)
    made = Event.from_json(text)
    assert made.verify()
    assert (made.kind().as_u16(), made.created_at().as_secs()) == (23194, AT)
    assert made.author().to_hex() == APP.public_key().to_hex()
    tags = [tag.to_vec() for tag in made.tags()]
    assert tags == [["p", CONNECTION.wallet], ["encryption", encryption], ["expiration", str(AT + 900)]]
    decrypt = WALLET.nip44_decrypt if encryption == "nip44_v2" else WALLET.nip04_decrypt
    said = json.loads(decrypt(APP.public_key(), made.content()))
    assert said == {"method": "pay_invoice", "params": {"invoice": "lnbc1"}}
    assert wire.own_request(CONNECTION, text) == wire.Request(made.id().to_hex(), AT)


def test_only_what_was_signed_for_this_connection_is_a_request() -> None:
    text = wire.sign(CONNECTION, "get_info", {}, "nip04", None, AT)
    foreign = Connection(OTHER.public_key().to_hex(), CONNECTION.relays, CONNECTION.secret)
    for connection, written in ((foreign, text), (CONNECTION, text.replace(str(AT), str(AT + 1))), (CONNECTION, "{}")):
        with pytest.raises(ValueError, match="no request"):
            wire.own_request(connection, written)
    with pytest.raises(ValueError, match="no such encryption"):
        wire.sign(CONNECTION, "get_info", {}, "rot13", None, AT)


@pytest.mark.parametrize(
    ("tags", "encryption"),
    [
        ([], "nip04"),
        ([["encryption", "nip44_v2 nip04"]], "nip44_v2"),
        ([["encryption", "nip44_v2"]], "nip44_v2"),
        ([["encryption", "nip04"]], "nip04"),
        ([["encryption", "nip99"]], "nip04"),
    ],
)
def test_the_info_event(tags: list[list[str]], encryption: str) -> None:
    said = event(" pay_invoice  get_info ", wire.INFO, *tags, ["notifications", "payment_received payment_sent"])
    found = wire.info(CONNECTION, said)
    assert found == wire.Info(
        frozenset({"pay_invoice", "get_info"}),
        encryption,  # type: ignore[arg-type]
        frozenset({"payment_received", "payment_sent"}),
        said["created_at"],
    )


def test_who_else_speaks_is_not_heard() -> None:
    good = event("pay_invoice", wire.INFO)
    bad_ones: list[Any] = [
        event("pay_invoice", wire.INFO, by=OTHER),
        event("pay_invoice", 1),
        good | {"content": "make_invoice"},
        good | {"sig": "00" * 64},
        good | {"id": "00" * 32},
        good | {"tags": "none"},
        good | {"tags": [[["\ud800"]]]},
        {"pubkey": CONNECTION.wallet},
        [],
        None,
    ]
    for bad in bad_ones:
        assert wire.info(CONNECTION, bad) is None
    assert wire.info(CONNECTION, good) is not None


@pytest.mark.parametrize("old", [False, True])
def test_an_answer_is_its_result(old: bool) -> None:
    body = {"result_type": "pay_invoice", "error": None, "result": {"preimage": "00", "fees_paid": 1, "rate": 1.5}}
    found = wire.answer(CONNECTION, ID, answer(body, old=old))
    assert found == {"preimage": "00", "fees_paid": 1, "rate": Decimal("1.5")}


@pytest.mark.parametrize("body", [{"result": None}, {"result": {}}, {"result": "ok", "error": None}])
def test_a_result_may_be_empty(body: Any) -> None:
    assert wire.answer(CONNECTION, ID, answer(body)) == {}


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        ({"code": "QUOTA_EXCEEDED", "message": "budget"}, "QUOTA_EXCEEDED", "budget"),
        ({"message": "no"}, "OTHER", "no"),
        ({"code": 7, "message": None}, "OTHER", ""),
        ({"code": "X" * 99, "message": "y" * 999}, "X" * 40, "y" * 300),
        ({"code": "A\0B", "message": "no\0 \n\ud800\u202eway"}, "A B", "no     way"),  # nothing that no database takes
        ("broken", "OTHER", ""),
        ({}, "OTHER", ""),
    ],
)
def test_an_error_is_the_wallets(error: Any, code: str, words: str) -> None:
    with pytest.raises(WalletError) as caught:
        wire.answer(CONNECTION, ID, answer({"error": error, "result": {"preimage": "00"}}))
    assert (caught.value.code, caught.value.words) == (code, words)


@pytest.mark.parametrize(
    "said",
    [
        answer({"result": {}}, by=OTHER),
        answer({"result": {}}, to="cd" * 32),
        answer({"result": {}}, kind=23197),
        answer({"result": {}}) | {"sig": "00" * 64},
        answer("no JSON"),
        answer([1]),
        answer({"result_type": "pay_invoice"}),
        event("no ciphertext", wire.RESPONSE, ["e", ID]),
        event("AAAA?iv=AAAA", wire.RESPONSE, ["e", ID]),
        event(WALLET.nip44_encrypt(OTHER.public_key(), '{"result":{}}'), wire.RESPONSE, ["e", ID]),
    ],
)
def test_what_is_no_answer(said: Any) -> None:
    assert wire.answer(CONNECTION, ID, said) is None


def test_notifications() -> None:
    body = {"notification_type": "payment_received", "notification": {"amount": 1000}}
    assert wire.notification(CONNECTION, answer(body, kind=23197)) == body
    assert wire.notification(CONNECTION, answer(body, kind=23196, old=True)) == body
    assert wire.notification(CONNECTION, answer(body)) is None
    assert wire.notification(CONNECTION, answer(body, kind=23197, by=OTHER)) is None
