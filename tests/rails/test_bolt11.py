"""BOLT #11: the specification's own examples, an independent implementation in both directions, hostile text."""

from __future__ import annotations

import dataclasses
import hashlib

import bolt11 as foreign
import pytest
from coincurve import PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perquery.rails import bech32, bolt11

# BOLT #11, "Examples": all are signed with this key, most pay this hash.
SPEC_KEY = bytes.fromhex("e126f68f7eafcc8b74f54d269fe206be715000f94dac067d1c04a8ca3b2db734")
SPEC_PAYEE = bytes.fromhex("03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad")
SPEC_HASH = bytes.fromhex("0001020304050607080900010203040506070809000102030405060708090102")
_HASH = "pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypq"
_CAKE = "hp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqs"
DONATION = (
    f"lnbc1{_HASH}dpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq8rkx3yf5tcsyz3d73gafnh3cax9"
    "rn449d9p5uxz9ezhhypd0elx87sjle52x86fux2ypatgddc6k63n7erqz25le42c4u4ecky03ylcqca784w"
)
COFFEE = (
    f"lnbc2500u1{_HASH}dq5xysxxatsyp3k7enxv4jsxqzpuaztrnwngzn3kdzw5hydlzf03qdgm2hdq27cqv3agm2awhz5se903vruatfhq7"
    "7w3ls4evs3ch9zw97j25emudupq63nyw24cg27h2rspfj9srp"
)
NONSENSE = (
    f"lnbc2500u1{_HASH}dpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpuyk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv4p2d5p7"
    "6r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrny"
)
CAKE = (
    f"lnbc20m1{_HASH}{_CAKE}cc6gd6ql3jrc5yzme8v4ntcewwz5cnw92tz0pc8qcuufvq7khhr8wpald05e92xw006sq94mg8v2ndf4sefvf"
    "9sygkshp5zfem29trqq2yxxz7"
)
BEANS = (
    f"lnbc25m1{_HASH}dq5vdhkven9v5sxyetpdeessp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9q5sqqqqqqqqqqq"
    "qqqqpqsq67gye39hfg3zd8rgc80k32tvy9xk2xunwm5lzexnvpx6fd77en8qaq424dxgt56cag2dpt359k3ssyhetktkpqh24jqnjyw6uqd08"
    "sgptq44qu"
)
PICO = (
    "lnbc9678785340p1pwmna7lpp5gc3xfm08u9qy06djf8dfflhugl6p7lgza6dsjxq454gxhj9t7a0sd8dgfkx7cmtwd68yetpd5s9xar0wfjn"
    "5gpc8qhrsdfq24f5ggrxdaezqsnvda3kkum5wfjkzmfqf3jkgem9wgsyuctwdus9xgrcyqcjcgpzgfskx6eqf9hzqnteypzxz7fzypfhg6trd"
    "djhygrcyqezcgpzfysywmm5ypxxjemgw3hxjmn8yptk7untd9hxwg3q2d6xjcmtv4ezq7pqxgsxzmnyyqcjqmt0wfjjq6t5v4khxxqyjw5qcq"
    "p2rzjq0gxwkzc8w6323m55m4jyxcjwmy7stt9hwkwe2qxmy8zpsgg7jcuwz87fcqqeuqqqyqqqqlgqqqqn3qq9qn07ytgrxxzad9hc4xt3maw"
    "jjt8znfv8xzscs7007v9gh9j569lencxa8xeujzkxs0uamak9aln6ez02uunw6rd2ht2sqe4hz8thcdagpleym0j"
)
INVALID = {
    "feature 100": f"lnbc25m1{_HASH}dq5vdhkven9v5sxyetpdeessp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9q4"
    "psqqqqqqqqqqqqqqqpqsqq40wa3khl49yue3zsgm26jrepqr2eghqlx86rttutve3ugd05em86nsefzh4pfurpd9ek9w2vp95zxqnfe2u7ckud"
    "yahsa52q66tgzcp6t2dyk",
    "checksum": NONSENSE[:-1] + "t",
    "not bech32": NONSENSE.removeprefix("lnbc2500u1"),
    "upper and lower case": "LNBC2500U1" + NONSENSE.removeprefix("lnbc2500u1"),
    "signature is not valid": f"lnbc2500u1{_HASH}dq5xysxxatsyp3k7enxv4jsxqzpuaxtrnwngzn3kdzw5hydlzf03qdgm2hdq27cqv3ag"
    "m2awhz5se903vruatfhq77w3ls4evs3ch9zw97j25emudupq63nyw24cg27h2rspk28uwq",
    "too short": f"lnbc1{_HASH}dpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6na6hlh",
    "network or amount": f"lnbc2500x1{_HASH}dq5xysxxatsyp3k7enxv4jsxqzpujr6jxr9gq9pv6g46y7d20jfkegkg4gljz2ea2a3m9lmvvr"
    "95tq2s0kvu70u3axgelz3kyvtp2ywwt0y8hkx2869zq5dll9nelr83zzqqpgl2zg",
    "finer than a millisatoshi": f"lnbc2500000001p1{_HASH}dq5xysxxatsyp3k7enxv4jsxqzpu7hqtk93pkf7sw55rdv4k9z2vj050rxdr"
    "6za9ekfs3nlt5lr89jqpdmxsmlj9urqumg0h9wzpqecw7th56tdms40p2ny9q4ddvjsedzcplva53s",
}
OURS = bolt11.Bolt11(
    network="bcrt",
    amount_msat=1_234_567,
    created_at=1_800_000_000,
    payment_hash=hashlib.sha256(b"preimage").digest(),
    payment_secret=bytes(range(32)),
    description="PerQuery top-up ナンセンス",
    expiry_s=900,
)
KEY = bytes(31) + b"\x07"


def test_any_amount_with_a_description() -> None:
    invoice = bolt11.decode(DONATION)
    assert (invoice.network, invoice.amount_msat, invoice.created_at) == ("bc", None, 1_496_314_658)
    assert (invoice.payment_hash, invoice.payee) == (SPEC_HASH, SPEC_PAYEE)
    assert invoice.description == "Please consider supporting this project"
    assert (invoice.expiry_s, invoice.min_final_cltv, invoice.features) == (3_600, 18, 0)


def test_an_amount_in_micro_bitcoin_and_an_expiry() -> None:
    invoice = bolt11.decode(COFFEE)
    assert (invoice.amount_msat, invoice.description, invoice.expiry_s) == (250_000_000, "1 cup coffee", 60)
    assert (invoice.expires_at, invoice.payee) == (1_496_314_718, SPEC_PAYEE)


def test_a_description_beyond_ascii() -> None:
    assert bolt11.decode(NONSENSE).description == "ナンセンス 1杯"


def test_a_hashed_description() -> None:
    invoice = bolt11.decode(CAKE)
    assert (invoice.amount_msat, invoice.description, invoice.payee) == (2_000_000_000, None, SPEC_PAYEE)
    assert invoice.description_hash is not None
    assert invoice.description_hash.hex().startswith("3925b6f67e2c340036ed12093dd44e03")


def test_an_amount_in_pico_bitcoin_beside_a_route_hint() -> None:
    invoice = bolt11.decode(PICO)
    assert (invoice.amount_msat, invoice.created_at, invoice.expiry_s) == (967_878_534, 1_572_468_703, 604_800)
    assert invoice.min_final_cltv == 10


def test_a_secret_and_features() -> None:
    invoice = bolt11.decode(BEANS)
    assert (invoice.payment_secret, invoice.features) == (b"\x11" * 32, 1 << 9 | 1 << 15 | 1 << 99)


def test_upper_case_and_the_uri_form_read_alike() -> None:
    assert bolt11.decode(f"LIGHTNING:{BEANS.upper()}\n") == bolt11.decode(BEANS)


@pytest.mark.parametrize("why", INVALID)
def test_the_specifications_invalid_examples_say_why(why: str) -> None:
    with pytest.raises(ValueError, match=f"^not a Lightning invoice: .*{why}"):
        bolt11.decode(INVALID[why])


def test_fields_that_must_be_ignored_are() -> None:
    _, words = bech32.decode(BEANS)
    junk = [2, 0, 3, 0, 0, 0]  # an unknown tag
    for tag, length in ((1, 51), (1, 53), (16, 51), (19, 52), (23, 53)):  # known tags of other lengths
        junk += [tag, *bech32.number_words(length, 2), *[0] * length]
    text = _signed("lnbc25m", words[:-104] + junk)
    assert bolt11.decode(text) == bolt11.decode(BEANS)


def test_a_stated_payee_is_checked_against_the_signature() -> None:
    _, words = bech32.decode(BEANS)
    stated = [19, *bech32.number_words(53, 2), *bech32.words_of(SPEC_PAYEE)]
    assert bolt11.decode(_signed("lnbc25m", words[:-104] + stated)).payee == SPEC_PAYEE
    with pytest.raises(ValueError, match="not by the payee"):
        bolt11.decode(_signed("lnbc25m", words[:-104] + stated, key=KEY))


def _signed(readable: str, words: list[int], key: bytes = SPEC_KEY) -> str:
    message = readable.encode() + bech32.bytes_of(words, pad=True)
    signature = PrivateKey(key).sign_recoverable(message)
    return bech32.encode(readable, words + bech32.words_of(signature))


def test_another_implementation_reads_ours() -> None:
    read = foreign.decode(bolt11.encode(OURS, KEY))
    assert (read.currency, read.amount_msat, read.date) == ("bcrt", 1_234_567, 1_800_000_000)
    assert (read.payment_hash, read.payment_secret) == (OURS.payment_hash.hex(), bytes(range(32)).hex())
    assert (read.description, read.expiry, read.min_final_cltv_expiry) == (OURS.description, 900, 18)
    assert read.payee == PrivateKey(KEY).public_key.format().hex()


def test_we_read_another_implementations() -> None:
    tags = foreign.Tags()
    tags.add(foreign.TagChar.payment_hash, "11" * 32)
    tags.add(foreign.TagChar.payment_secret, "22" * 32)
    tags.add(foreign.TagChar.description, "from elsewhere")
    tags.add(foreign.TagChar.expire_time, 86_400)
    written = foreign.Bolt11("bcrt", 1_700_000_000, tags, foreign.MilliSatoshi(21_001))
    read = bolt11.decode(foreign.encode(written, KEY.hex()))
    assert (read.network, read.amount_msat, read.created_at) == ("bcrt", 21_001, 1_700_000_000)
    assert (read.payment_hash, read.payment_secret) == (b"\x11" * 32, b"\x22" * 32)
    assert (read.description, read.expiry_s) == ("from elsewhere", 86_400)


@given(
    network=st.sampled_from(["bc", "tb", "tbs", "bcrt"]),
    amount=st.one_of(st.none(), st.integers(1, 21_000_000 * 10**11)),
    created_at=st.integers(0, 2**35 - 1),
    description=st.text(max_size=150),
    expiry_s=st.integers(0, 2**40),
    cltv=st.integers(0, 2**20),
)
@settings(max_examples=60)
def test_what_is_encoded_is_decoded(
    network: str, amount: int | None, created_at: int, description: str, expiry_s: int, cltv: int
) -> None:
    invoice = dataclasses.replace(
        OURS,
        network=network,
        amount_msat=amount,
        created_at=created_at,
        description=description,
        expiry_s=expiry_s,
        min_final_cltv=cltv,
    )
    payee = PrivateKey(KEY).public_key.format()
    assert bolt11.decode(bolt11.encode(invoice, KEY)) == dataclasses.replace(invoice, payee=payee)


@pytest.mark.parametrize(
    ("msat", "text"),
    [
        (10**11, "lnbcrt1"),
        (3 * 10**8, "lnbcrt3m"),
        (250_000_000, "lnbcrt2500u"),
        (100, "lnbcrt1n"),
        (1, "lnbcrt10p"),
        (1_234_567, "lnbcrt12345670p"),
    ],
)
def test_amounts_take_their_shortest_form(msat: int, text: str) -> None:
    assert bolt11.encode(dataclasses.replace(OURS, amount_msat=msat), KEY).rpartition("1")[0] == text


@pytest.mark.parametrize("msat", [0, -1, 21_000_000 * 10**11 + 1])
def test_amounts_that_cannot_be_paid_are_refused(msat: int) -> None:
    with pytest.raises(ValueError, match="an amount"):
        bolt11.encode(dataclasses.replace(OURS, amount_msat=msat), KEY)


@given(st.text(max_size=200))
@example("lnbcrt1" + "q" * 8_000)
@example("lightning:")
@example("lnbc٣m1" + "q" * 120)
def test_hostile_text_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a Lightning invoice: "):
        bolt11.decode(text)


@given(st.lists(st.integers(0, 31), max_size=400), st.sampled_from(["lnbc", "lnbcrt1u", "lntb999999999999999999m"]))
def test_hostile_words_under_a_right_checksum_are_a_value_error(words: list[int], readable: str) -> None:
    with pytest.raises(ValueError, match=r"^not a Lightning invoice: "):
        bolt11.decode(bech32.encode(readable, words))


@given(st.data())
def test_a_changed_word_never_passes_as_ours(data: st.DataObject) -> None:
    readable, words = bech32.decode(bolt11.encode(OURS, KEY))
    place = data.draw(st.integers(0, len(words) - 1))
    words[place] ^= data.draw(st.integers(1, 31))
    try:
        payee = bolt11.decode(bech32.encode(readable, words)).payee
    except ValueError:
        return
    assert payee != PrivateKey(KEY).public_key.format()


@pytest.mark.parametrize("text", [DONATION, COFFEE, CAKE, BEANS, PICO])
def test_a_hash_stands_in_its_invoice_as_it_is_looked_for(text: str) -> None:
    assert bolt11.hash_text(bolt11.decode(text).payment_hash) in text
    assert bolt11.hash_text(hashlib.sha256(text.encode()).digest()) not in text
