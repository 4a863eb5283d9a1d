"""The most that a new account may pay by a method whose payments can be taken back weeks later. No clock."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from perquery import money
from perquery.errors import BadRequest
from perquery.store import invoices
from perquery.store.invoices import InvoiceRow
from perquery.topups.methods import Method

WEEK_MS: Final = 7 * 24 * 3_600_000


def check(connection: Connection, method: Method, invoice: InvoiceRow, now_ms: int) -> None:
    """Cards can be stolen: a new account starts small. The account must be locked. Raises BadRequest."""
    most, account_id = method.first_week_nano, invoice.account_id
    if most is None or invoices.age_ms(connection, account_id, now_ms) >= WEEK_MS:
        return
    left = max(0, most - invoices.asked_nano(connection, account_id, invoice.rail, now_ms))
    if invoice.amount_nano > left:
        allowed, rest = (money.plain(amount) for amount in (most, left))
        text = f"In its first week an account may pay ${allowed} by {method.display_name.lower()}; ${rest} are left."
        raise BadRequest(text, param="amount", code="first_week_limit")
