"""What the ledger is asked: that plain data lines up with the tables."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from perquery.store.operations import RequestRow
from perquery.store.statements import REQUEST

MONEY: tuple[Any, ...] = ("held_nano", "cost_nano", "shortfall_nano")


def test_a_request_s_row_is_in_the_order_of_the_table() -> None:
    names: dict[str, Any] = {field.name: field.name for field in fields(RequestRow)}
    assert RequestRow(**names).values(*MONEY) == REQUEST
