"""Raw transactions: those of another library, plain, with witnesses, and with Litecoin's extension."""

from __future__ import annotations

import pytest
from embit.script import Script, Witness
from embit.transaction import Transaction, TransactionInput, TransactionOutput
from hypothesis import given
from hypothesis import strategies as st

from perquery.rails import transaction

OUTPUTS = [TransactionOutput(value, Script(bytes([0, 20]) + bytes([value % 256]) * 20)) for value in (1, 2**40, 0)]


def made(witness: bool) -> Transaction:
    source = TransactionInput(b"\x07" * 32, 3, witness=Witness([b"\x01" * 72, b"\x02" * 33]) if witness else None)
    return Transaction(2, [source], OUTPUTS, 840_000)


@pytest.mark.parametrize("witness", [False, True])
def test_outputs_and_id(witness: bool) -> None:
    whole = made(witness)
    found = transaction.parse(whole.serialize())
    assert found.id == whole.txid().hex()
    assert found.outputs == tuple((each.value, each.script_pubkey.data) for each in OUTPUTS)


def test_litecoins_extension_is_passed_over() -> None:
    """LIP 3: flag 8, and before the lock time a byte that says that there is no more."""
    plain = made(witness=False).serialize()
    extended = plain[:4] + b"\x00\x08" + plain[4:-4] + b"\x00" + plain[-4:]
    assert transaction.parse(extended) == transaction.parse(plain)


@given(st.binary(max_size=200))
def test_what_is_none_is_refused(data: bytes) -> None:
    try:
        found = transaction.parse(data)
    except ValueError:
        return
    assert len(found.id) == 64


def test_more_coins_than_there_are() -> None:
    whole = Transaction(2, [TransactionInput(b"\x07" * 32, 3)], [TransactionOutput(2**62, Script(b"\x51"))], 0)
    with pytest.raises(ValueError, match="more than there is"):
        transaction.parse(whole.serialize())


def test_when_a_block_was_made() -> None:
    assert transaction.header_time_s(bytes(68) + (1_231_006_505).to_bytes(4, "little") + bytes(8)) == 1_231_006_505
    with pytest.raises(ValueError, match="header"):
        transaction.header_time_s(bytes(79))
