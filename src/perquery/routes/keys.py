"""Keys over HTTP (PPQ's /keys, and `models`): create, list, show, change, revoke. Needs the credit id.

A secret is in one answer only, that of its creation; `show_key` answers null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from perquery import money
from perquery.accounts import Key
from perquery.errors import BadRequest, ModelNotFound
from perquery.routes.access import SECURED, Master, accounts_of
from perquery.routes.answers import MoneyJSON, iso
from perquery.routes.bodies import object_in

router = APIRouter(prefix="/keys", tags=["keys"])
NAME_MAX: Final = 25
MODELS_MAX: Final = 500
LIMIT_MIN, LIMIT_MAX = Decimal("0.01"), Decimal(1_000_000_000)
PERIODS: Final = ("daily", "weekly", "monthly")
_EXAMPLE: Final = '{"name": "laptop", "usage_limit_usd": 5, "reset_period": "monthly"}'
_BODY: Final[dict[str, Any]] = SECURED | {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "minLength": 1, "maxLength": NAME_MAX},
                        "usage_limit_usd": {"type": ["number", "null"], "minimum": 0.01},
                        "reset_period": {"enum": [*PERIODS, None]},
                        "expire_at": {"type": ["string", "null"], "format": "date-time"},
                        "models": {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": MODELS_MAX},
                        "prompt_caching": {"type": "boolean", "default": True},
                    },
                },
                "example": {"name": "laptop", "usage_limit_usd": 5, "reset_period": "monthly"},
            }
        },
    }
}


@router.post("", status_code=201, summary="Create a key", openapi_extra=_BODY)
async def create(request: Request, caller: Master) -> Response:
    settings = settings_in(await object_in(request, _EXAMPLE), resolver(request.app.state.catalog))
    if "name" not in settings:
        raise BadRequest(f"name is missing; send {_EXAMPLE}", param="name")
    key, secret = await accounts_of(request).create_key(caller.account_id, settings)
    return _success(_terms(key) | {"api_key": secret}, 201)


@router.get("", summary="The account's keys", openapi_extra=SECURED)
async def listing(request: Request, caller: Master, show_key: bool = False, deleted: bool = False) -> Response:
    keys = await accounts_of(request).keys(caller.account_id)
    return _success([_shown(key, show_key) for key in keys if deleted or key.deleted_at is None])


@router.get("/{key_id}", summary="One key", openapi_extra=SECURED)
async def show(key_id: str, request: Request, caller: Master, show_key: Annotated[bool, Query()] = False) -> Response:
    return _success(_shown(await accounts_of(request).key(caller.account_id, key_id), show_key))


@router.patch("/{key_id}", summary="Change a key; what is left out stays", openapi_extra=_BODY)
async def change(key_id: str, request: Request, caller: Master) -> Response:
    settings = settings_in(await object_in(request, _EXAMPLE), resolver(request.app.state.catalog))
    return _success(_shown(await accounts_of(request).change_key(caller.account_id, key_id, settings)))


@router.delete("/{key_id}", summary="Revoke a key", openapi_extra=SECURED)
async def delete(key_id: str, request: Request, caller: Master) -> Response:
    return _success(_shown(await accounts_of(request).delete_key(caller.account_id, key_id)))


def _success(data: Any, status_code: int = 200) -> Response:
    return MoneyJSON({"status": "success", "data": data}, status_code=status_code)


def _terms(key: Key) -> dict[str, Any]:
    return {
        "_id": key.id,
        "name": key.name,
        "created_at": iso(key.created_at),
        "usage_limit_usd": None if key.limit_nano is None else money.number(key.limit_nano),
        "reset_period": key.reset_period,
        "reset_at": iso(key.reset_at),
        "expire_at": iso(key.expire_at),
        "models": key.models,
        "prompt_caching": key.prompt_caching,
    }


def _shown(key: Key, show_key: bool = False) -> dict[str, Any]:
    standing = {
        "deleted_at": iso(key.deleted_at),
        "updated_at": iso(key.updated_at),
        "current_period_usage_usd": money.number(key.used_nano),
        "total_usage_all_time_usd": money.number(key.total_nano),
    }
    return _terms(key) | standing | ({"api_key": None} if show_key else {})


def resolver(catalog: Any) -> Callable[[str], str]:
    """From any name of a model to the id that holds name."""
    today = datetime.now(UTC).date()
    return lambda name: _resolved(catalog, name, today)


def _resolved(catalog: Any, name: str, today: date) -> str:
    try:
        return str(catalog.find(name, today).model.id)
    except ModelNotFound as error:
        raise BadRequest(f"models: {error.message}", param="models") from error


def settings_in(body: Mapping[str, Any], resolve: Callable[[str], str]) -> dict[str, Any]:
    """The settings that the body names, as the store takes them. Raises BadRequest naming the field."""
    settings: dict[str, Any] = {}
    if "name" in body:
        settings["name"] = _name(body["name"])
    if "usage_limit_usd" in body:
        settings["limit_nano"] = _limit(body["usage_limit_usd"])
    if "reset_period" in body:
        settings["reset_period"] = _period(body["reset_period"])
    if "expire_at" in body:
        settings["expire_at"] = _expiry(body["expire_at"])
    if "models" in body:
        settings["models"] = _models(body["models"], resolve)
    if "prompt_caching" in body:
        settings["prompt_caching"] = _caching(body["prompt_caching"])
    return settings


def _name(value: Any) -> str:
    name = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise BadRequest(f"name must have 1 to {NAME_MAX} printable characters.", param="name")
    return name


def _limit(value: Any) -> int | None:
    if value is None:
        return None
    wrong = BadRequest(
        f"usage_limit_usd must be a number from {LIMIT_MIN} to {LIMIT_MAX} with at most 9 digits after the point,"
        " or null for no limit.",
        param="usage_limit_usd",
    )
    if not isinstance(value, int | Decimal) or isinstance(value, bool) or not LIMIT_MIN <= value <= LIMIT_MAX:
        raise wrong
    try:
        return money.nano(value)
    except ValueError as error:
        raise wrong from error


def _period(value: Any) -> str | None:
    if value is not None and value not in PERIODS:
        raise BadRequest("reset_period must be daily, weekly, monthly or null.", param="reset_period")
    period: str | None = value
    return period


def _expiry(value: Any) -> int | None:
    if value is None:
        return None
    wrong = BadRequest('expire_at must be a time, such as "2030-01-31T00:00:00Z", or null.', param="expire_at")
    try:
        given = datetime.fromisoformat(value)
        moment = given.replace(tzinfo=given.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise wrong from error
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def _caching(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadRequest("prompt_caching must be true or false.", param="prompt_caching")
    return value


def _models(value: Any, resolve: Callable[[str], str]) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or len(value) > MODELS_MAX:
        raise BadRequest(f"models must be a list of 1 to {MODELS_MAX} model ids, or null for all.", param="models")
    if not all(isinstance(name, str) and len(name) <= 200 and name.isprintable() for name in value):
        raise BadRequest("models must hold model ids as strings.", param="models")
    return sorted({resolve(name) for name in value})
