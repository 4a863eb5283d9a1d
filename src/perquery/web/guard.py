"""What every page is sent with, and which requests may change something. Pure.

A form of another site must never act for who is signed in here: browsers say where a request comes from (Fetch
Metadata), older ones and those on plain HTTP at least its origin. Who says neither is no browser with our form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from perquery.errors import Forbidden

SAFE_METHODS: Final = ("GET", "HEAD")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'{form_action}; base-uri 'none'; frame-ancestors 'none'"
)
_FIXED: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, browsers would hide the origin of our own forms from us
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_TLS: Final = {"strict-transport-security": "max-age=31536000"}


def headers(*, secure: bool, form_action: str = "") -> dict[str, str]:
    """form_action: an origin to which the page's form may lead in the end."""
    policy = _POLICY.format(form_action=f" {form_action}" if form_action else "")
    return {"content-security-policy": policy, **_FIXED, **(_TLS if secure else {})}


def refuse_foreign(method: str, headers: Mapping[str, str], public_url: str | None) -> None:
    """Let a request pass that changes nothing, or that comes from a page of ours. Raises Forbidden
    (`foreign_request`).
    """
    if method in SAFE_METHODS:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    ours = {headers.get("host", ""), urlsplit(public_url or "").netloc} - {""}
    if site == "same-origin" or (site is None and origin is not None and urlsplit(origin).netloc in ours):
        return
    raise Forbidden("This form was sent from another site, so nothing was done.", code="foreign_request")


def origin_of(url: str) -> str:
    """Scheme, host and port, as a browser writes them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
