"""Passkeys (WebAuthn): another way back into an account, beside its credit id. And an end to sessions elsewhere.

A passkey is bound to this site's host and its origin, signs a challenge of ours once, and opens what the credit id
opens. It must never be the only way in: the credit id stays good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import webauthn
from starlette.responses import Response
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, parse_client_data_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from perquery.errors import BadRequest, Unauthorized
from perquery.routes.bodies import object_in
from perquery.store import passkeys, sessions
from perquery.store.passkeys import Passkey
from perquery.store.sessions import Session
from perquery.web import guard
from perquery.web.signing import ACCOUNT, onward
from perquery.web.site import Page, Visit

_PATH: Final = "/account/access"
_NAME_MAX: Final = 60
_UNREADABLE: Final = (WebAuthnException, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


async def access(visit: Visit) -> Response:
    """The account's passkeys, and how many sessions of it go on."""
    database = visit.state.database
    return visit.page(
        "access.html",
        passkeys=await asyncio.to_thread(passkeys.listed, database, visit.account_id),
        named=bytes_to_base64url,
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
    options = webauthn.generate_registration_options(
        rp_id=_host(visit),
        rp_name=visit.settings.site.name,
        user_name=f"{visit.settings.site.name} account {account_id}",
        user_id=(visit.signed_in.safety_id or str(account_id)).encode(),
        challenge=await asyncio.to_thread(passkeys.challenge, database, account_id),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.PREFERRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=each.id) for each in mine],
    )
    return visit.json(webauthn.options_to_json(options))


async def add(visit: Visit) -> Response:
    """Keep the passkey that the browser made."""
    body = await object_in(visit.request)
    database, account_id = visit.state.database, visit.account_id
    shown, challenge = await _signed(visit, body, account_id)
    try:
        made = webauthn.verify_registration_response(
            credential=shown,
            expected_challenge=challenge,
            expected_rp_id=_host(visit),
            expected_origin=guard.origin_of(visit.base_url),
        )
    except _UNREADABLE as error:
        raise BadRequest("This passkey could not be read or is not for this site.") from error
    named = body.get("name")
    name = (named.strip()[:_NAME_MAX] if isinstance(named, str) else "") or "Passkey"
    key, count, now_ms = made.credential_public_key, made.sign_count, database.now_ms()
    await asyncio.to_thread(passkeys.add, database, Passkey(made.credential_id, account_id, key, count, name, now_ms))
    return visit.json("{}", 201)


async def remove(visit: Visit) -> Response:
    try:
        id = base64url_to_bytes(visit.request.path_params["id"])
    except ValueError:
        return visit.go(_PATH)
    await asyncio.to_thread(passkeys.remove, visit.state.database, visit.account_id, id)
    return visit.go(_PATH)


async def begin_sign_in(visit: Visit) -> Response:
    """What the browser is to sign; any passkey that it has for this site will do."""
    visit.require_sessions()
    visit.accounts.allow_sign_in(visit.address)
    challenge = await asyncio.to_thread(passkeys.challenge, visit.state.database, None)
    options = webauthn.generate_authentication_options(rp_id=_host(visit), challenge=challenge)
    return visit.json(webauthn.options_to_json(options))


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
        passkey = await asyncio.to_thread(passkeys.find, database, base64url_to_bytes(str(shown.get("id"))))
        if passkey is None:
            raise Unauthorized("This passkey is not known here, or was removed. Sign in with the credit id.")
        done = webauthn.verify_authentication_response(
            credential=shown,
            expected_challenge=challenge,
            expected_rp_id=_host(visit),
            expected_origin=guard.origin_of(visit.base_url),
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
        )
    except _UNREADABLE as error:
        raise Unauthorized("This passkey was refused. Sign in with the credit id.") from error
    if not await asyncio.to_thread(passkeys.used, database, passkey, done.new_sign_count):
        raise Unauthorized("This passkey was refused. Sign in with the credit id.")
    return passkey


async def _signed(visit: Visit, body: Mapping[str, Any], account_id: int | None) -> tuple[dict[str, Any], bytes]:
    """What the browser's authenticator answered, and the challenge in it, which is ours and used up with this.

    Raises BadRequest.
    """
    shown: Any = body.get("credential")
    try:
        challenge: bytes = parse_client_data_json(base64url_to_bytes(shown["response"]["clientDataJSON"])).challenge
    except _UNREADABLE as error:
        raise BadRequest("There is no passkey in this request.", param="credential") from error
    if not await asyncio.to_thread(passkeys.take, visit.state.database, challenge, account_id):
        raise BadRequest("This took too long, or was sent twice; try again.")
    return shown, challenge


def _host(visit: Visit) -> str:
    """What passkeys are bound to: the site's host, without its port."""
    return urlsplit(visit.base_url).hostname or ""


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
