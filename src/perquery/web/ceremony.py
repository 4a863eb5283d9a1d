"""WebAuthn's two ceremonies, by a kept library: what the browser is to do, and whether it did.

Loading the library and checking a signature take their time: never for the event loop. It must not know an account, a
session or a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import webauthn
from webauthn.helpers import base64url_to_bytes, parse_client_data_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

_UNREADABLE: Final = (WebAuthnException, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Party:
    """Whom a passkey is for: host, without its port; origin, as the browser says it."""

    host: str
    origin: str


@dataclass(frozen=True, slots=True)
class Made:
    """A new passkey: its id, its public key (COSE), and how often it says it has signed."""

    id: bytes
    public_key: bytes
    sign_count: int


def challenge_of(shown: Any) -> bytes:
    """The challenge that a browser's answer answers. Raises ValueError where there is none."""
    try:
        challenge: bytes = parse_client_data_json(base64url_to_bytes(shown["response"]["clientDataJSON"])).challenge
    except _UNREADABLE as error:
        raise ValueError("no answer of a browser") from error
    return challenge


def registration(party: Party, site: str, account: str, challenge: bytes, mine: Iterable[bytes], user: bytes) -> str:
    """JSON: what the browser is to make a passkey by. mine: the ids of those that the account has."""
    options = webauthn.generate_registration_options(
        rp_id=party.host,
        rp_name=site,
        user_name=account,
        user_id=user,
        challenge=challenge,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.PREFERRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=id) for id in mine],
    )
    return webauthn.options_to_json(options)


def registered(party: Party, shown: Mapping[str, Any], challenge: bytes) -> Made:
    """The passkey that the browser made. Raises ValueError where it is not for this challenge and party."""
    try:
        made = webauthn.verify_registration_response(
            credential=dict(shown),
            expected_challenge=challenge,
            expected_rp_id=party.host,
            expected_origin=party.origin,
        )
    except _UNREADABLE as error:
        raise ValueError("not a passkey for this site") from error
    return Made(made.credential_id, made.credential_public_key, made.sign_count)


def authentication(party: Party, challenge: bytes) -> str:
    """JSON: what the browser is to sign; any passkey that it has for this site will do."""
    return webauthn.options_to_json(webauthn.generate_authentication_options(rp_id=party.host, challenge=challenge))


def authenticated(party: Party, shown: Mapping[str, Any], challenge: bytes, public_key: bytes, count: int) -> int:
    """How often it says it has signed, which was `count`, now that it signed the challenge. Raises ValueError where it
    did not.
    """
    try:
        done = webauthn.verify_authentication_response(
            credential=dict(shown),
            expected_challenge=challenge,
            expected_rp_id=party.host,
            expected_origin=party.origin,
            credential_public_key=public_key,
            credential_current_sign_count=count,
        )
    except _UNREADABLE as error:
        raise ValueError("not signed by this passkey") from error
    return done.new_sign_count
