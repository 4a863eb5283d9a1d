"""An account's keys: make one (its secret is shown once), change, revoke it. Only for who came with the credit id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from perquery import money
from perquery.accounts import Key
from perquery.errors import BadRequest
from perquery.routes.answers import iso
from perquery.routes.keys import PERIODS, resolver, settings_in
from perquery.web.site import Page, Visit

_PATH: Final = "/account/keys"
_EMPTY: Final = {"name": "", "usage_limit_usd": "", "reset_period": "", "expire_at": "", "models": "", "caching": "on"}


async def listing(visit: Visit) -> Response:
    """The keys, and a form for another; what it sends makes that."""
    if visit.request.method != "POST":
        return await _listed(visit, _EMPTY)
    fields = await visit.fields()
    try:
        settings = settings_in(_body(fields), resolver(visit.state.catalog))
        key, secret = await visit.accounts.create_key(visit.account_id, settings)
    except BadRequest as error:
        return await _listed(visit, fields, error)
    return visit.page("new_key.html", 201, secret=True, key=key, api_key=secret)


async def _listed(visit: Visit, fields: Mapping[str, str], error: BadRequest | None = None) -> Response:
    keys = await visit.accounts.keys(visit.account_id)
    live = [key for key in keys if key.deleted_at is None]
    revoked = [key for key in keys if key.deleted_at is not None]
    return visit.page("keys.html", 400 if error else 200, keys=live, revoked=revoked, **_form(fields, error))


async def one(visit: Visit) -> Response:
    """A key's terms in a form; what it sends changes them."""
    key = await _key(visit)
    if visit.request.method != "POST":
        return visit.page("key.html", key=key, **_form(_fields(key)))
    fields = await visit.fields()
    try:
        settings = settings_in(_body(fields), resolver(visit.state.catalog))
        if key.expire_at is not None and fields.get("expire_at") == _fields(key)["expire_at"]:
            settings.pop("expire_at", None)  # which may have passed, and was not touched
        await visit.accounts.change_key(visit.account_id, key.id, settings)
    except BadRequest as error:
        return visit.page("key.html", 400, key=key, **_form(fields, error))
    return visit.go(_PATH)


async def revoke(visit: Visit) -> Response:
    key = await _key(visit)
    await visit.accounts.delete_key(visit.account_id, key.id)
    return visit.go(_PATH)


async def _key(visit: Visit) -> Key:
    """The key that the path names. Raises NotFound."""
    return await visit.accounts.key(visit.account_id, visit.request.path_params["id"])


def _form(fields: Mapping[str, str], error: BadRequest | None = None) -> dict[str, Any]:
    """What the form's template needs: values as they were sent, and what is wrong with one."""
    return {
        "values": {**dict.fromkeys(_EMPTY, ""), **fields},
        "wrong": {error.param or "name": error.message} if error else {},
        "periods": [("", "never"), *((period, period) for period in PERIODS)],
    }


def _fields(key: Key) -> dict[str, str]:
    return {
        "name": key.name,
        "usage_limit_usd": "" if key.limit_nano is None else money.plain(key.limit_nano),
        "reset_period": key.reset_period or "",
        "expire_at": "" if key.expire_at is None else _minute(key.expire_at),
        "models": "\n".join(key.models or ()),
        "caching": "on" if key.prompt_caching else "",
    }


def _minute(at_ms: int) -> str:
    """As a browser's field for a date and time has it."""
    return (iso(at_ms) or "")[:16]


def _body(fields: Mapping[str, str]) -> dict[str, Any]:
    """The form as the API's JSON would say it; what is empty means none."""
    names = fields.get("models", "").replace(",", "\n").split()
    return {
        "name": fields.get("name", ""),
        "usage_limit_usd": _number(fields.get("usage_limit_usd", "")),
        "reset_period": fields.get("reset_period") or None,
        "expire_at": fields.get("expire_at") or None,
        "models": names or None,
        "prompt_caching": fields.get("caching") == "on",
    }


def _number(text: str) -> Any:
    """The amount, exactly; what is no number is left to be refused."""
    try:
        return money.decimal(text) if text else None
    except ValueError:
        return text


PAGES: Final = (
    Page(_PATH, listing, ("GET", "POST"), "owner"),
    Page(_PATH + "/{id}", one, ("GET", "POST"), "owner"),
    Page(_PATH + "/{id}/revoke", revoke, ("POST",), "owner"),
)
