"""Accounts over HTTP: make one, ask for its balance (PPQ's shapes)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from perquery import money
from perquery.accounts import Credential, credential, credentials_in
from perquery.errors import BadRequest
from perquery.routes.access import SECURED, accounts_of, authenticated
from perquery.routes.answers import MoneyJSON
from perquery.routes.bodies import object_in
from perquery.store import queries

router = APIRouter(tags=["accounts"])
_BALANCE_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"credit_id": {"type": "string", "format": "uuid"}}}
            }
        },
    }
}


@router.post("/accounts/create", status_code=201, summary="Create an account; its secrets are shown once")
async def create(request: Request) -> Response:
    made = await accounts_of(request).create(request.client.host if request.client else "")
    answer = {"success": True, "credit_id": made.credit_id, "api_key": made.api_key, "balance": 0}
    return MoneyJSON(answer, status_code=201)


@router.post("/credits/balance", summary="The balance in USD", openapi_extra=SECURED | _BALANCE_BODY)
async def balance(request: Request) -> Response:
    given = credentials_in(request.scope["headers"]) or await _credential_in_body(request)
    access = await authenticated(request, given)
    figures = await asyncio.to_thread(queries.figures, request.app.state.database, access.account_id)
    return MoneyJSON({name: money.number(amount) for name, amount in figures.items()})


async def _credential_in_body(request: Request) -> Credential | None:
    given = (await object_in(request, '{"credit_id": "YOUR_CREDIT_ID"}')).get("credit_id")
    if given is None:
        return None
    if not isinstance(given, str):
        raise BadRequest("credit_id must be a string.", param="credit_id")
    return credential(given)
