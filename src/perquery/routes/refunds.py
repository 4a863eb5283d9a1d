"""Refunds over HTTP: ask unspent deposits back, see how a refund stands. Only the account's owner may: keys spend."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from perquery.refunds import wire
from perquery.refunds.service import Refunds
from perquery.routes.access import SECURED, Master
from perquery.routes.answers import MoneyJSON
from perquery.routes.bodies import parsed, whole

router = APIRouter(prefix="/refunds", tags=["refunds"])
_EXAMPLE: Final = '{"destination": "you@wallet.example", "amount": 5}'
_BODY: Final[dict[str, Any]] = SECURED | {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "The same key and body get the same refund again.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["destination"],
                    "properties": {
                        "destination": {
                            "type": "string",
                            "description": "A BOLT #11 invoice with its amount, a Lightning address, or an LNURL.",
                        },
                        "amount": {
                            "type": "number",
                            "exclusiveMinimum": 0,
                            "description": "Of an address: how much; left out, all that can be given back.",
                        },
                        "currency": {"type": "string", "enum": ["USD", "SATS"], "default": "USD"},
                    },
                },
                "example": {"destination": "you@wallet.example", "amount": 5},
            }
        },
    },
}


@router.post("", status_code=201, summary="Ask unspent deposits back over Lightning", openapi_extra=_BODY)
async def ask(request: Request, owner: Master) -> Response:
    raw = await whole(request)
    key = request.headers.get("idempotency-key")
    row = await _refunds(request).ask(owner.account_id, parsed(raw, _EXAMPLE), key=key, raw=raw)
    return MoneyJSON(wire.refund(row), status_code=201)


@router.get("", summary="The account's refunds, newest first, and what it can ask back", openapi_extra=SECURED)
async def listing(request: Request, owner: Master, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Response:
    return MoneyJSON(wire.listing(*await _refunds(request).latest(owner.account_id, limit)))


@router.get("/{refund_id}", summary="A refund as it stands now", openapi_extra=SECURED)
async def one(refund_id: str, request: Request, owner: Master) -> Response:
    return MoneyJSON(wire.refund(await _refunds(request).one(owner.account_id, refund_id)))


def _refunds(request: Request) -> Refunds:
    refunds: Refunds = request.app.state.refunds
    return refunds
