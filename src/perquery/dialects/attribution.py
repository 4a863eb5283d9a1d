"""Whose request it is, as upstreams are told: our own random id of the account, and nothing else. Pure.

Upstreams want to tell a house's users apart, to stop one without stopping all. It must never let the caller's own
names for its users out: neither of us knows who reads them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_OWN: Final = frozenset({"user", "safety_identifier", "user_id"})


def anonymous(body: dict[str, Any]) -> dict[str, Any]:
    """The body, in any dialect, without the caller's own names."""
    metadata = body.get("metadata")
    named = isinstance(metadata, dict) and "user_id" in metadata
    if not named and body.keys().isdisjoint(_OWN):
        return body
    made = {name: value for name, value in body.items() if name not in _OWN}
    if named:
        made["metadata"] = {name: value for name, value in body["metadata"].items() if name != "user_id"}
        if not made["metadata"]:
            del made["metadata"]
    return made


def in_messages(body: dict[str, Any], safety_id: str) -> dict[str, Any]:
    """A Messages body that names the account."""
    metadata: Mapping[str, Any] = body.get("metadata") or {}
    return body | {"metadata": {**metadata, "user_id": safety_id}}
