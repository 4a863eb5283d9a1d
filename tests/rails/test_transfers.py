"""Logs as nodes answer them: one form for all, and no answer that is in none."""

from __future__ import annotations

from typing import Any

import pytest

from perquery.rails import transfers
from perquery.rails.transfers import TRANSFER, Block, Transfer

PAYEE = "0x" + "cd" * 20
LOG: dict[str, Any] = {
    "address": "0x" + "AB" * 20,
    "topics": [TRANSFER, "0x" + "0" * 64, transfers.padded("0x" + "CD" * 20)],
    "data": f"0x{25:064x}",
    "blockNumber": "0x10",
    "blockHash": "0x" + "EF" * 32,
    "transactionHash": "0x" + "DE" * 32,
    "logIndex": "0x1f",
    "removed": False,
}


def test_a_log_has_one_name_however_it_is_written() -> None:
    read = transfers.transfer(LOG)
    small = {name: value.lower() if isinstance(value, str) else value for name, value in LOG.items()}
    assert read == transfers.transfer(small | {"logIndex": "0x001F"})
    assert read == Transfer("0x" + "de" * 32 + ":31", "0x" + "ab" * 20, PAYEE, 25, True, 16, "0x" + "ef" * 32)


def test_a_log_that_was_undone_is_none() -> None:
    assert transfers.transfer(LOG | {"removed": True}) is None


def test_a_thing_that_is_one_of_its_kind_has_a_number_and_no_amount() -> None:
    read = transfers.transfer(LOG | {"topics": [*LOG["topics"], f"0x{7:064x}"], "data": "0x"})
    assert read is not None and (read.units, read.fungible) == (7, False)


BROKEN: list[Any] = [
    None,
    [],
    *({name: value for name, value in LOG.items() if name != missing} for missing in LOG if missing != "removed"),
    LOG | {"topics": LOG["topics"][:2]},
    LOG | {"topics": ["0x" + "0" * 64, *LOG["topics"][1:]]},
    LOG | {"topics": [TRANSFER, None, "0x12"]},
    LOG | {"data": "0x"},
    LOG | {"data": LOG["data"] + "00"},
    LOG | {"data": 25},
    LOG | {"blockNumber": 16},
    LOG | {"blockNumber": None},
    LOG | {"logIndex": "-0x1"},
    LOG | {"logIndex": "0x"},
    LOG | {"transactionHash": "0x12"},
]


@pytest.mark.parametrize("log", BROKEN)
def test_what_is_not_in_the_form_is_no_answer(log: Any) -> None:
    with pytest.raises(ValueError, match=r"not as it should be|no object|something else"):
        transfers.transfer(log)


def test_blocks() -> None:
    found = {"number": "0x10", "hash": "0x" + "EF" * 32, "timestamp": "0x5"}
    assert transfers.block(found) == Block(16, "0x" + "ef" * 32, 5_000)
    with pytest.raises(ValueError, match="not as it should be"):
        transfers.block(found | {"hash": None})
