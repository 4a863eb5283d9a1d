"""HTTP's Digest authentication (RFC 7616) as monero-wallet-rpc asks for it: MD5, quality "auth". Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

_PART: Final = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')


def authorization(
    challenge: str, user: str, password: str, method: str, path: str, *, count: int, client_nonce: str
) -> str:
    """The header that answers a WWW-Authenticate. count: how often the nonce has been used, from 1 on; client_nonce: a
    random text of ours. Raises ValueError for a challenge of another kind.
    """
    asked = _challenge(challenge)
    once = f"{count:08x}"
    secret = _md5(f"{user}:{asked['realm']}:{password}")
    what = _md5(f"{method}:{path}")
    proof = _md5(f"{secret}:{asked['nonce']}:{once}:{client_nonce}:auth:{what}")
    fields = {"username": user, "realm": asked["realm"], "nonce": asked["nonce"], "uri": path, "response": proof}
    quoted = ", ".join(f'{name}="{value}"' for name, value in (fields | {"cnonce": client_nonce}).items())
    opaque = f', opaque="{asked["opaque"]}"' if "opaque" in asked else ""
    return f"Digest {quoted}, algorithm=MD5, qop=auth, nc={once}{opaque}"


def _challenge(header: str) -> Mapping[str, str]:
    """The first challenge that we can answer; several stand in one header, each behind its scheme."""
    for each in re.split(r"(?i)\bdigest\s+", header)[1:]:
        found = {name.lower(): quoted or plain for name, quoted, plain in _PART.findall(each)}
        kinds = {kind.strip() for kind in found.get("qop", "").split(",")}
        if found.get("algorithm", "MD5").upper() == "MD5" and "auth" in kinds and {"realm", "nonce"} <= found.keys():
            return found
    raise ValueError("it asks for another way to log in than Digest with MD5")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
