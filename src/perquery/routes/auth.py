"""Sign-in for apps (OpenRouter's PKCE flow): the code that the page `/auth` gave is exchanged for a key, once."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from perquery.accounts import Accounts, Grant
from perquery.errors import BadRequest, Forbidden
from perquery.routes.access import accounts_of
from perquery.routes.answers import MoneyJSON
from perquery.routes.bodies import object_in
from perquery.routes.keys import NAME_MAX

router = APIRouter(tags=["keys"])
METHODS: Final = ("S256", "plain")
VERIFIER_MAX: Final = 256
NAMES_TRIED: Final = 50
_EXAMPLE: Final = '{"code": "…", "code_verifier": "…", "code_challenge_method": "S256"}'
_TEXT: Final = {"type": ["string", "null"], "maxLength": VERIFIER_MAX}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["code"],
                    "properties": {
                        "code": {"type": "string", "minLength": 1, "maxLength": VERIFIER_MAX},
                        "code_verifier": _TEXT,
                        "code_challenge_method": {"enum": [*METHODS, None]},
                    },
                }
            }
        },
    },
    "responses": {
        "403": {
            "description": "The code or its verifier is wrong",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
    },
}


@router.post("/api/v1/auth/keys", summary="Alias of /v1/auth/keys", openapi_extra=_BODY)
@router.post("/v1/auth/keys", summary="Exchange the code of /auth for a key (OpenRouter's shape)", openapi_extra=_BODY)
async def exchange(request: Request) -> Response:
    body = await object_in(request, _EXAMPLE)
    code, verifier = _text(body, "code"), _text(body, "code_verifier")
    method = _text(body, "code_challenge_method")
    if not code:
        raise BadRequest(f"code is missing; send {_EXAMPLE}", param="code")
    if method is not None and method not in METHODS:
        raise BadRequest("code_challenge_method must be S256 or plain.", param="code_challenge_method")
    grant = await accounts_of(request).take_grant(code)
    if grant is None or not proves(grant, verifier, method):
        raise Forbidden("The code or its verifier is wrong, or the code was used or is too old.", code="invalid_code")
    return MoneyJSON({"key": await _made(accounts_of(request), grant), "user_id": None})


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > VERIFIER_MAX):
        raise BadRequest(f"{name} must be a text of at most {VERIFIER_MAX} characters.", param=name)
    return value


def proves(grant: Grant, verifier: str | None, method: str | None) -> bool:
    """Whether who has the verifier is who sent the challenge. A grant without a challenge needs none."""
    if grant.challenge is None:
        return True
    if verifier is None or method not in (None, grant.method):
        return False
    shown = verifier.encode("utf-8", "surrogatepass")
    if grant.method == "S256":
        shown = urlsafe_b64encode(sha256(shown).digest()).rstrip(b"=")
    return hmac.compare_digest(shown, grant.challenge.encode("utf-8", "surrogatepass"))


async def _made(accounts: Accounts, grant: Grant) -> str:
    """The key's secret. An app that comes again gets another key, with a number after its name."""
    settings = {"limit_nano": grant.limit_nano, "reset_period": grant.reset_period}
    for number in range(1, NAMES_TRIED + 1):
        tail = f" {number}" if number > 1 else ""
        try:
            named = settings | {"name": grant.name[: NAME_MAX - len(tail)] + tail}
            _, secret = await accounts.create_key(grant.account_id, named)
        except BadRequest as error:
            if error.code != "name_taken":
                raise
        else:
            return secret
    raise BadRequest(f"The account has {NAMES_TRIED} keys of that name; revoke some.", code="name_taken")
