"""Top-ups over HTTP: create an invoice, ask for its status, list, follow what happens, and the ways to pay.

Amounts are read and written exactly: the body is parsed without floats, answers carry plain decimals.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from perquery.errors import BadRequest
from perquery.routes.access import SECURED, Caller
from perquery.routes.answers import MoneyJSON
from perquery.routes.bodies import parsed, whole
from perquery.routes.follow import follow
from perquery.topups import wire
from perquery.topups.service import Topups

router = APIRouter(prefix="/topup", tags=["topup"])
_EXAMPLE: Final = '{"amount": 1000, "currency": "SATS"}'
_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and body get the same invoice again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
_EVENTS: Final[dict[str, Any]] = SECURED | {
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "Go on after this event.",
            "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
        }
    ],
    "responses": {
        "200": {
            "description": "The events",
            "content": {
                "text/event-stream": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "id": {"type": "string"},
                            "event": {"type": "string"},
                            "data": {"type": "string"},
                        },
                    }
                }
            },
        },
        "204": {"description": "The invoice is final, and its last event was seen"},
    },
}
_WEBHOOK: Final[dict[str, Any]] = {
    "parameters": [{"name": "Stripe-Signature", "in": "header", "required": True, "schema": {"type": "string"}}],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}
_CREATE_BODY: Final[dict[str, Any]] = SECURED | {
    "parameters": [_KEY],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["amount"],
                    "properties": {
                        "amount": {"type": "number", "exclusiveMinimum": 0, "description": "In `currency`."},
                        "currency": {
                            "type": "string",
                            "enum": ["USD", "BTC", "SATS", "LTC", "LBTC", "XMR", "USDC", "USDT"],
                            "default": "USD",
                        },
                    },
                },
                "example": {"amount": 1000, "currency": "SATS"},
            }
        },
    },
}


@router.get("/payment-methods", summary="The ways to pay, with currencies, limits, expiry and bonus")
async def payment_methods(request: Request, availability: Literal["open", "all"] = "open") -> Response:
    """With `availability=all` also those whose wallet has never answered, or can receive nothing now."""
    topups = _topups(request)
    listed = [each for each in await topups.payment_methods() if each[1] or availability == "all"]
    return MoneyJSON(wire.payment_methods([(method, topups.rate(method), is_open) for method, is_open in listed]))


@router.post("/create/{rail}", status_code=201, summary="Create an invoice", openapi_extra=_CREATE_BODY)
async def create(rail: str, request: Request, caller: Caller) -> Response:
    raw = await whole(request)
    body = parsed(raw, _EXAMPLE)
    amount, currency, key = body.get("amount"), body.get("currency"), request.headers.get("idempotency-key")
    topup = await _topups(request).create(caller.account_id, rail, amount, currency, key=key, body=raw)
    return MoneyJSON(wire.created(topup, _base_url(request)), status_code=201)


@router.post("/webhook/{rail}", summary="A payment service's webhook, by its signature", openapi_extra=_WEBHOOK)
async def webhook(rail: str, request: Request) -> Response:
    raw = await whole(request)
    if not _topups(request).pushed(rail, raw, request.headers.get("stripe-signature", "")):
        raise BadRequest("The signature is not that of the payment service.", param="Stripe-Signature")
    return MoneyJSON({"received": True})


@router.get("/status/{invoice_id}", summary="An invoice as it stands now", openapi_extra=SECURED)
async def status(invoice_id: str, request: Request, caller: Caller) -> Response:
    return MoneyJSON(wire.status(await _topups(request).status(caller.account_id, invoice_id)))


@router.get("/events", summary="What happens to the account's invoices, as server-sent events", openapi_extra=_EVENTS)
async def events(request: Request, caller: Caller, invoice_id: str | None = None) -> Response:
    if invoice_id is not None:
        await _topups(request).status(caller.account_id, invoice_id)
    given = request.headers.get("last-event-id")
    return await follow(request.app.state, caller.account_id, invoice_id, given)


@router.get("", summary="The account's invoices, newest first", openapi_extra=SECURED)
async def listing(request: Request, caller: Caller, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Response:
    return MoneyJSON(wire.listing(await _topups(request).latest(caller.account_id, limit)))


def _topups(request: Request) -> Topups:
    topups: Topups = request.app.state.topups
    return topups


def _base_url(request: Request) -> str:
    """Where callers reach this gateway: as configured, else as this caller did."""
    return (request.app.state.settings.public_url or str(request.base_url)).rstrip("/")
