"""Topping up: choose a way to pay and an amount; what that makes is the checkout's."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from perquery import money
from perquery.errors import PerQueryError
from perquery.topups.methods import Method
from perquery.web.site import Page, Visit

AMOUNT: Final = "10"
_FORM: Final = "web:"  # before the number of a form: sent twice, it makes one invoice


async def top_up(visit: Visit) -> Response:
    """The form; what it sends makes an invoice and leads to its checkout."""
    if visit.request.method != "POST":
        return await _form(visit, {})
    fields = await visit.fields()
    asked = {name: fields.get(name, "") for name in ("rail", "amount", "currency")}
    number = fields.get("form", "")[:64]
    key = _FORM + number if number.isascii() and number.isalnum() else None
    try:
        topup = await visit.state.topups.create(
            visit.account_id,
            asked["rail"],
            asked["amount"],
            asked["currency"] or None,
            key=key,
            body=repr(asked).encode(),
        )
    except PerQueryError as error:
        return await _form(visit, asked, error)
    return visit.go(f"/checkout/{topup.invoice.id}")


async def _form(visit: Visit, asked: Mapping[str, str], error: PerQueryError | None = None) -> Response:
    topups = visit.state.topups
    methods: list[Method] = [method for method, is_open in await topups.payment_methods() if is_open]
    codes = list(dict.fromkeys(currency.code for method in methods for currency in method.currencies))
    chosen: dict[str, Any] = {"amount": AMOUNT, "currency": "USD", "rail": methods[0].name if methods else ""}
    return visit.page(
        "top_up.html",
        error.status if error else 200,
        headers=error.headers if error else None,
        methods=[(method, topups.rate(method), _bonus_percent(method)) for method in methods],
        currencies=[(code, code) for code in codes],
        chosen=chosen | {name: value for name, value in asked.items() if value},
        wrong={error.param or "": error.message} if error else {},
        form=secrets.token_hex(16),
    )


def _bonus_percent(method: Method) -> str | None:
    return money.plain(money.share(100 * 10**6, method.bonus), 6) if method.bonus else None


PAGES: Final = (Page("/top-up", top_up, ("GET", "POST"), "account"),)
