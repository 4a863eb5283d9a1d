"""Auto top-up over HTTP: connect a wallet, see it and what it did, disconnect it (PPQ's paths)."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from perquery.accounts import Access, credentials_in, credit_id_in
from perquery.autotopup import wire
from perquery.autotopup.connections import Connections
from perquery.errors import Unauthorized
from perquery.routes.access import SECURED, authenticated
from perquery.routes.answers import MoneyJSON
from perquery.routes.bodies import object_in

router = APIRouter(prefix="/nwc-auto-topup", tags=["auto top-up"])
_EXAMPLE: Final = '{"nwc_url": "nostr+walletconnect://…", "threshold_usd": 10, "topup_amount_usd": 10}'
_USD: Final = {"type": "number", "exclusiveMinimum": 0}
_CONNECT_BODY: Final[dict[str, Any]] = SECURED | {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["nwc_url"],
                    "properties": {
                        "nwc_url": {"type": "string", "description": "The wallet's nostr+walletconnect:// address."},
                        "threshold_usd": _USD | {"default": 10, "minimum": 5},
                        "topup_amount_usd": _USD | {"default": 10},
                        "daily_limit_usd": _USD,
                        "monthly_limit_usd": _USD,
                    },
                }
            }
        },
    }
}


async def owner_of(request: Request) -> Access:
    """The account, by a key, a credit id, or both: then they must be of one account. Raises Unauthorized."""
    headers = request.scope["headers"]
    access = await authenticated(request, credentials_in(headers))
    credit_id = credit_id_in(headers)
    if credit_id is not None and (await authenticated(request, credit_id)).account_id != access.account_id:
        raise Unauthorized("The API key and the credit id are of different accounts.", code="credentials_disagree")
    return access


Owner = Annotated[Access, Depends(owner_of)]


@router.post("/connect", summary="Connect a wallet that pays when the balance is low", openapi_extra=_CONNECT_BODY)
async def connect(request: Request, owner: Owner) -> Response:
    body = await object_in(request, _EXAMPLE)
    return MoneyJSON(wire.view(await _connections(request).connect(owner.account_id, body)))


@router.get("", summary="The connected wallet, and what it was asked for", openapi_extra=SECURED)
async def show(request: Request, owner: Owner) -> Response:
    return MoneyJSON(wire.view(await _connections(request).show(owner.account_id)))


@router.delete("/connection", summary="Disconnect the wallet and forget its secret", openapi_extra=SECURED)
async def disconnect(request: Request, owner: Owner) -> Response:
    return MoneyJSON(wire.view(await _connections(request).disconnect(owner.account_id)))


def _connections(request: Request) -> Connections:
    connections: Connections = request.app.state.connections
    return connections
