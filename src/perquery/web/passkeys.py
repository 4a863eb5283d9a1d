"""Passkeys (WebAuthn): another way back into an account, beside its credit id. And an end to sessions elsewhere.

A passkey is bound to this site's host and its origin, signs a challenge of ours once, and opens what the credit id
opens. It must never be the only way in: the credit id stays good.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson
from starlette.responses import Response

from perquery.errors import BadRequest, Unauthorized
from perquery.later import Later
from perquery.routes.bodies import object_in
from perquery.store import passkeys, sessions
from perquery.store.passkeys import Passkey
from perquery.store.sessions import Session
from perquery.web import guard
from perquery.web.signing import ACCOUNT, onward
from perquery.web.site import Page, Visit

if TYPE_CHECKING:
    from perquery.web import ceremony
else:
    ceremony = Later("perquery.web.ceremony")

_PATH: Final = "/account/access"
_NAME_MAX: Final = 60


async def access(visit: Visit) -> Response:
    """The account's passkeys, and how many sessions of it go on."""
    database = visit.state.database
    return visit.page(
        "access.html",
        passkeys=await asyncio.to_thread(passkeys.listed, database, visit.account_id),
        named=lambda id: urlsafe_b64encode(id).rstrip(b"=").decode(),
        sessions=await asyncio.to_thread(sessions.count, database, visit.account_id),
        possible=_host(visit) != "" and not _is_address(_host(visit)),
    )


async def end_all(visit: Visit) -> Response:
    """Sign out everywhere, here too."""
    await asyncio.to_thread(sessions.end_all, visit.state.database, visit.account_id)
    return await visit.sign_out(visit.go("/sign-in"))


async def begin_adding(visit: Visit) -> Response:
    """What the browser is to make a passkey by."""
    database, account_id = visit.state.database, visit.account_id
    mine = await asyncio.to_thread(passkeys.listed, database, account_id)
    challenge = await asyncio.to_thread(passkeys.challenge, database, account_id)
    user = (visit.signed_in.safety_id or str(account_id)).encode()
    site, ids = visit.settings.site.name, [each.id for each in mine]
    options = await asyncio.to_thread(
        lambda: ceremony.registration(_party(visit), site, f"{site} account {account_id}", challenge, ids, user)
    )
    return visit.json(options)


async def add(visit: Visit) -> Response:
    """Keep the passkey that the browser made."""
    body = await object_in(visit.request)
    database, account_id = visit.state.database, visit.account_id
    shown, challenge = await _signed(visit, body, account_id)
    try:
        made = await asyncio.to_thread(lambda: ceremony.registered(_party(visit), shown, challenge))
    except ValueError as error:
        raise BadRequest("This passkey could not be read or is not for this site.") from error
    named = body.get("name")
    name = (named.strip()[:_NAME_MAX] if isinstance(named, str) else "") or "Passkey"
    passkey = Passkey(made.id, account_id, made.public_key, made.sign_count, name, database.now_ms())
    await asyncio.to_thread(passkeys.add, database, passkey)
    return visit.json("{}", 201)


async def remove(visit: Visit) -> Response:
    try:
        id = _id(visit.request.path_params["id"])
    except ValueError:
        return visit.go(_PATH)
    await asyncio.to_thread(passkeys.remove, visit.state.database, visit.account_id, id)
    return visit.go(_PATH)


async def begin_sign_in(visit: Visit) -> Response:
    """What the browser is to sign; any passkey that it has for this site will do."""
    visit.require_sessions()
    visit.accounts.allow_sign_in(visit.address)
    challenge = await asyncio.to_thread(passkeys.challenge, visit.state.database, None)
    return visit.json(await asyncio.to_thread(lambda: ceremony.authentication(_party(visit), challenge)))


async def sign_in(visit: Visit) -> Response:
    """The same session as with the credit id, for who shows a passkey that is not removed."""
    body = await object_in(visit.request)
    visit.require_sessions()
    shown, challenge = await _signed(visit, body, None)
    passkey = await _verified(visit, shown, challenge)
    place = body.get("next")
    answer = visit.json(orjson.dumps({"next": onward(place if isinstance(place, str) else ACCOUNT)}))
    return await visit.sign_in(answer, Session(passkey.account_id))


async def _verified(visit: Visit, shown: dict[str, Any], challenge: bytes) -> Passkey:
    """The passkey that signed the challenge. Raises Unauthorized."""
    database = visit.state.database
    try:
        passkey = await asyncio.to_thread(passkeys.find, database, _id(shown.get("id")))
        if passkey is None:
            raise Unauthorized("This passkey is not known here, or was removed. Sign in with the credit id.")
        known = (passkey.public_key, passkey.sign_count)
        count = await asyncio.to_thread(lambda: ceremony.authenticated(_party(visit), shown, challenge, *known))
    except ValueError as error:
        raise Unauthorized("This passkey was refused. Sign in with the credit id.") from error
    if not await asyncio.to_thread(passkeys.used, database, passkey, count):
        raise Unauthorized("This passkey was refused. Sign in with the credit id.")
    return passkey


async def _signed(visit: Visit, body: Mapping[str, Any], account_id: int | None) -> tuple[dict[str, Any], bytes]:
    """What the browser's authenticator answered, and the challenge in it, which is ours and used up with this.

    Raises BadRequest.
    """
    shown: Any = body.get("credential")
    try:
        challenge = await asyncio.to_thread(lambda: ceremony.challenge_of(shown))
    except ValueError as error:
        raise BadRequest("There is no passkey in this request.", param="credential") from error
    if not await asyncio.to_thread(passkeys.take, visit.state.database, challenge, account_id):
        raise BadRequest("This took too long, or was sent twice; try again.")
    return shown, challenge


def _host(visit: Visit) -> str:
    """What passkeys are bound to: the site's host, without its port."""
    return urlsplit(visit.base_url).hostname or ""


def _party(visit: Visit) -> ceremony.Party:
    return ceremony.Party(_host(visit), guard.origin_of(visit.base_url))


def _id(named: Any) -> bytes:
    """A passkey's id, as the browser and our own pages write it. Raises ValueError where that is none."""
    text = named if isinstance(named, str) else ""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _is_address(host: str) -> bool:
    """Browsers keep passkeys for names alone."""
    return ":" in host or host.replace(".", "").isdecimal()


PAGES: Final = (
    Page(_PATH, access, needs="owner"),
    Page(f"{_PATH}/end-all", end_all, ("POST",), needs="owner"),
    Page("/account/passkeys", add, ("POST",), needs="owner"),
    Page("/account/passkeys/options", begin_adding, ("POST",), needs="owner"),
    Page("/account/passkeys/{id}/remove", remove, ("POST",), needs="owner"),
    Page("/sign-in/passkey", sign_in, ("POST",)),
    Page("/sign-in/passkey/options", begin_sign_in, ("POST",)),
)
