"""Top-ups over HTTP: create an invoice, ask for its status, list, and the ways to pay.

Amounts are read and written exactly: the body is parsed without floats, answers carry plain decimals.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from perquery.routes.access import SECURED, Caller
from perquery.routes.answers import MoneyJSON
from perquery.routes.bodies import object_in
from perquery.topups import wire
from perquery.topups.service import Topups

router = APIRouter(prefix="/topup", tags=["topup"])
_EXAMPLE: Final = '{"amount": 1000, "currency": "SATS"}'
_CREATE_BODY: Final[dict[str, Any]] = SECURED | {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["amount"],
                    "properties": {
                        "amount": {"type": "number", "exclusiveMinimum": 0, "description": "In `currency`."},
                        "currency": {"type": "string", "enum": ["USD", "BTC", "SATS"], "default": "USD"},
                    },
                },
                "example": {"amount": 1000, "currency": "SATS"},
            }
        },
    }
}


@router.get("/payment-methods", summary="The ways to pay, with currencies, limits, expiry and bonus")
async def payment_methods(request: Request) -> Response:
    return MoneyJSON(wire.payment_methods(_topups(request).payment_methods()))


@router.post("/create/{rail}", status_code=201, summary="Create an invoice", openapi_extra=_CREATE_BODY)
async def create(rail: str, request: Request, caller: Caller) -> Response:
    body = await object_in(request, _EXAMPLE)
    topup = await _topups(request).create(caller.account_id, rail, body.get("amount"), body.get("currency"))
    return MoneyJSON(wire.created(topup, _base_url(request)), status_code=201)


@router.get("/status/{invoice_id}", summary="An invoice as it stands now", openapi_extra=SECURED)
async def status(invoice_id: str, request: Request, caller: Caller) -> Response:
    return MoneyJSON(wire.status(await _topups(request).status(caller.account_id, invoice_id)))


@router.get("", summary="The account's invoices, newest first", openapi_extra=SECURED)
async def listing(request: Request, caller: Caller, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Response:
    return MoneyJSON(wire.listing(await _topups(request).latest(caller.account_id, limit)))


def _topups(request: Request) -> Topups:
    topups: Topups = request.app.state.topups
    return topups


def _base_url(request: Request) -> str:
    """Where callers reach this gateway: as configured, else as this caller did."""
    return (request.app.state.settings.public_url or str(request.base_url)).rstrip("/")
