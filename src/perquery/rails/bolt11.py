"""BOLT #11 Lightning invoices: encode and sign, decode and verify, on every Bitcoin network.

Amounts are exact millisatoshi, times seconds since 1970. Route hints are skipped, fallback addresses only noticed:
this module reads what a payee must know of its own invoice. It must never raise anything but ValueError on what it
is given, and never answer an invoice whose signature it has not checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coincurve import PrivateKey, PublicKey

from perquery.rails import bech32

MSAT_PER_BTC = 10**11
DEFAULT_EXPIRY_S = 3_600
DEFAULT_MIN_FINAL_CLTV = 18
DESCRIPTION_BYTES_MAX = 639  # 1023 words of 5 bits
# var_onion_optin and payment_secret compulsory, basic_mpp offered: what payers of today expect (BOLT #9).
PAYEE_FEATURES = 1 << 8 | 1 << 14 | 1 << 17
# Compulsory features of BOLT #9 that mean something in an invoice: onion, secret, multi-part, blinded, metadata.
_KNOWN_COMPULSORY = frozenset((8, 14, 16, 24, 48))
_LENGTH_MAX = 7_089  # what the largest QR code holds
_SIGNATURE_WORDS = 104
_TIMESTAMP_WORDS = 7
_MSAT_MAX = 21_000_000 * MSAT_PER_BTC
_PREFIX = re.compile(r"ln(bcrt|bc|tbs|tb)(?:([1-9][0-9]{0,19})([munp]?))?")
_UNITS: dict[str, int] = {"": MSAT_PER_BTC, "m": 10**8, "u": 10**5, "n": 10**2}  # msat; "p" is a tenth of one
_HASH, _SECRET, _DESCRIPTION, _PAYEE, _DESCRIPTION_HASH = 1, 16, 13, 19, 23
_EXPIRY, _CLTV, _FEATURES, _FALLBACK = 6, 24, 5, 9
_EXACT_WORDS: Mapping[int, int] = {_HASH: 52, _SECRET: 52, _DESCRIPTION_HASH: 52, _PAYEE: 53}


@dataclass(frozen=True, slots=True)
class Bolt11:
    """An invoice. network: "bc", "tb", "tbs" or "bcrt"; features: bit n set for feature n; payee: its node's
    compressed public key (33 bytes; recovered from the signature, or stated and checked against it);
    has_fallback: whether it names an address of the chain to pay to instead (read, never written)."""

    network: str
    amount_msat: int | None
    created_at: int
    payment_hash: bytes
    payment_secret: bytes | None
    description: str | None
    expiry_s: int = DEFAULT_EXPIRY_S
    min_final_cltv: int = DEFAULT_MIN_FINAL_CLTV
    features: int = PAYEE_FEATURES
    description_hash: bytes | None = None
    payee: bytes = b""
    has_fallback: bool = False

    @property
    def expires_at(self) -> int:
        """The first second in which it should no longer be paid."""
        return self.created_at + self.expiry_s


def encode(invoice: Bolt11, key: bytes) -> str:
    """The invoice signed by the node key (32 bytes); its `payee` is not written, it follows from the signature."""
    readable = f"ln{invoice.network}{_amount_text(invoice.amount_msat)}"
    if not _PREFIX.fullmatch(readable):
        raise ValueError(f"not a network of Lightning, or an amount it cannot state: {readable!r}")
    if not 0 <= invoice.created_at < 1 << 35 or len(invoice.payment_hash) != 32:
        raise ValueError("a time must fit 35 bits and a payment hash 32 bytes")
    words = bech32.number_words(invoice.created_at, _TIMESTAMP_WORDS)
    for tag, content in _fields(invoice):
        words += [tag, *bech32.number_words(len(content), 2), *content]
    signature = PrivateKey(key).sign_recoverable(_signed(readable, words))
    return bech32.encode(readable, words + bech32.words_of(signature))


def _fields(invoice: Bolt11) -> list[tuple[int, list[int]]]:
    """The tagged fields (tag, words) in the order in which they are written."""
    fields = [(_HASH, bech32.words_of(invoice.payment_hash))]
    if invoice.description is not None:
        text = invoice.description.encode()
        if len(text) > DESCRIPTION_BYTES_MAX:
            raise ValueError(f"a description has at most {DESCRIPTION_BYTES_MAX} bytes")
        fields.append((_DESCRIPTION, bech32.words_of(text)))
    if invoice.description_hash is not None:
        fields.append((_DESCRIPTION_HASH, bech32.words_of(invoice.description_hash)))
    if invoice.expiry_s != DEFAULT_EXPIRY_S:
        fields.append((_EXPIRY, bech32.number_words(invoice.expiry_s)))
    fields.append((_CLTV, bech32.number_words(invoice.min_final_cltv)))
    if invoice.payment_secret is not None:
        fields.append((_SECRET, bech32.words_of(invoice.payment_secret)))
    if invoice.features:
        fields.append((_FEATURES, bech32.number_words(invoice.features)))
    return fields


def hash_text(payment_hash: bytes) -> str:
    """How every invoice over this hash holds it, letter for letter."""
    words = bech32.words_of(payment_hash)
    return bech32.letters([_HASH, *bech32.number_words(len(words), 2), *words])


def decode(text: str) -> Bolt11:
    """Parse and verify. ValueError: malformed, unsigned, of an unknown network, or with unknown compulsory features."""
    text = text.strip()
    text = text[len("lightning:") :] if text[:10].lower() == "lightning:" else text
    if len(text) > _LENGTH_MAX:
        raise ValueError("not a Lightning invoice: it is too long")
    try:
        return _decoded(text)
    except ValueError as error:
        raise ValueError(f"not a Lightning invoice: {error}") from error


def _decoded(text: str) -> Bolt11:
    readable, words = bech32.decode(text)
    prefix = _PREFIX.fullmatch(readable)
    if prefix is None:
        raise ValueError("its network or amount is not one of Lightning's")
    if len(words) < _TIMESTAMP_WORDS + _SIGNATURE_WORDS:
        raise ValueError("it is too short")
    data, signature = words[:-_SIGNATURE_WORDS], bech32.bytes_of(words[-_SIGNATURE_WORDS:])
    fields = _read_fields(data[_TIMESTAMP_WORDS:])
    if _HASH not in fields:
        raise ValueError("it has no payment hash")
    secret, stated = fields.get(_SECRET), fields.get(_PAYEE)
    description, hashed = fields.get(_DESCRIPTION), fields.get(_DESCRIPTION_HASH)
    return Bolt11(
        network=prefix[1],
        amount_msat=_amount_msat(prefix[2], prefix[3]),
        created_at=bech32.words_number(data[:_TIMESTAMP_WORDS]),
        payment_hash=bech32.bytes_of(fields[_HASH]),
        payment_secret=bech32.bytes_of(secret) if secret is not None else None,
        description=_text(description) if description is not None else None,
        expiry_s=_number(fields.get(_EXPIRY), DEFAULT_EXPIRY_S),
        min_final_cltv=_number(fields.get(_CLTV), DEFAULT_MIN_FINAL_CLTV),
        features=_known_features(fields.get(_FEATURES, [])),
        description_hash=bech32.bytes_of(hashed) if hashed is not None else None,
        has_fallback=_FALLBACK in fields,
        payee=_payee(_signed(readable, data), signature, bech32.bytes_of(stated) if stated else None),
    )


def _read_fields(words: Sequence[int]) -> dict[int, list[int]]:
    """The words of each field by tag, the first of each kind; fields of a length that is not theirs are skipped."""
    fields: dict[int, list[int]] = {}
    place = 0
    while place < len(words):
        if place + 3 > len(words):
            raise ValueError("its last field is cut off")
        tag, length = words[place], bech32.words_number(words[place + 1 : place + 3])
        content = list(words[place + 3 : place + 3 + length])
        if len(content) < length:
            raise ValueError("its last field is cut off")
        place += 3 + length
        if length == _EXACT_WORDS.get(tag, length):
            fields.setdefault(tag, content)
    return fields


def _amount_text(msat: int | None) -> str:
    """The shortest writing of an amount: the largest unit that divides it."""
    if msat is None:
        return ""
    if not 0 < msat <= _MSAT_MAX:
        raise ValueError(f"an amount must be above 0 and below all bitcoins: {msat} msat")
    for letter, unit in _UNITS.items():
        if msat % unit == 0:
            return f"{msat // unit}{letter}"
    return f"{msat * 10}p"


def _amount_msat(digits: str | None, letter: str) -> int | None:
    if digits is None:
        return None
    msat, rest = divmod(int(digits), 10) if letter == "p" else (int(digits) * _UNITS[letter], 0)
    if rest:
        raise ValueError("its amount is finer than a millisatoshi")
    if msat > _MSAT_MAX:
        raise ValueError("its amount is more than all bitcoins")
    return msat


def _number(words: list[int] | None, default: int) -> int:
    if words is None:
        return default
    number = bech32.words_number(words)
    if number >= 1 << 63:
        raise ValueError("it holds a number that is too large")
    return number


def _text(words: list[int]) -> str:
    try:
        return bech32.bytes_of(words).decode()
    except UnicodeDecodeError as error:
        raise ValueError("its description is not UTF-8") from error


def _known_features(words: list[int]) -> int:
    features = bech32.words_number(words)
    for bit in range(0, features.bit_length(), 2):
        if features >> bit & 1 and bit not in _KNOWN_COMPULSORY:
            raise ValueError(f"it demands feature {bit}, which is not known here")
    return features


def _signed(readable: str, words: Sequence[int]) -> bytes:
    return readable.encode() + bech32.bytes_of(words, pad=True)


def _payee(message: bytes, signature: bytes, stated: bytes | None) -> bytes:
    """Who signed: the stated key, if it is one that this signature can come from, else the recovered one."""
    if stated is None:
        return _recovered(message, signature)
    for recovery_id in range(4):
        try:
            if _recovered(message, signature[:64] + bytes([recovery_id])) == stated:
                return stated
        except ValueError:
            continue
    raise ValueError("its signature is not by the payee that it names")


def _recovered(message: bytes, signature: bytes) -> bytes:
    try:
        return PublicKey.from_signature_and_message(signature, message).format()
    except ValueError as error:
        raise ValueError("its signature is not valid") from error
