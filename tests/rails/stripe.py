"""A scripted Stripe over a socket: the calls that the card rail makes, in the shapes and with the errors of Stripe's
API, and what its Dashboard, payers and banks do: payments, refunds, disputes.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import stripe

from tests.answering import Asked, answering

KEY, SECRET_KEY, LIVE_KEY = "rk_test_0123456789abcdef", "sk_test_0123456789abcdef", "rk_live_0123456789abcdef"
WEBHOOK_SECRET = "whsec_" + "w" * 32
EVENTS_KEPT_S = 30 * 86_400
_MAY_ASK = {"mode", "client_reference_id", "metadata", "line_items", "payment_intent_data", "payment_method_types"} | {
    *("payment_method_options", "adaptive_pricing", "expires_at", "success_url", "cancel_url")
}
_LISTS = {"payment_intents": "intents", "charges": "charges", "refunds": "refunds", "disputes": "disputes"}


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, kind: str, message: str, code: str | None = None, param: str | None = None) -> None:
        error = {"type": kind, "message": message, "code": code, "param": param}
        self.answer = status, json.dumps({"error": {name: value for name, value in error.items() if value}})


def refusal(*args: Any, **named: Any) -> tuple[int, str]:
    return Refusal(*args, **named).answer


def signed(payload: bytes, now_s: int, secret: str = WEBHOOK_SECRET) -> str:
    """The header that Stripe sends with a webhook."""
    header: str = stripe.WebhookSignature.generate_signature_header(payload.decode(), secret, timestamp=now_s)
    return header


class ScriptedStripe:
    """clock: milliseconds. spoil: (status, body) in place of every answer; lost: how many requests are carried out
    but answered with rubbish; change: fields of the next sessions that are not what was asked for.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self.url = ""
        self.spoil: tuple[int, str] | None = None
        self.lost = 0
        self.change: dict[str, Any] = {}
        self.asked: list[Asked] = []
        self.sessions: dict[str, dict[str, Any]] = {}
        self.intents: dict[str, dict[str, Any]] = {}
        self.charges: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.disputes: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self._keys: dict[str, tuple[bytes, tuple[int, str]]] = {}
        self._clock = clock

    # -- what payers, banks and the operator do -----------------------------------------------------------

    def pay(self, name: str, **change: Any) -> str:
        """The page is paid; the payment's name. change: of the intent and the charge, where it goes another way."""
        session = self.sessions[name]
        self._age(session)
        if session["status"] != "open":
            raise ValueError(f"this page is {session['status']}")
        cents, now_s = session["amount_total"], self._now_s()
        payment, charge_id = _new("pi"), _new("ch")
        both = {"currency": session["currency"], "status": "succeeded", "livemode": False, "created": now_s}
        intent = {"id": payment, "object": "payment_intent", "amount": cents, "amount_received": cents}
        charge = {"id": charge_id, "object": "charge", "amount": cents, "amount_captured": cents, "amount_refunded": 0}
        charge |= {"paid": True, "captured": True, "disputed": False, "refunded": False, "payment_intent": payment}
        self.charges[charge_id] = charge | both | {key: value for key, value in change.items() if key != "intent"}
        self.intents[payment] = intent | both | {"latest_charge": charge_id} | change.get("intent", {})
        session |= {"status": "complete", "payment_status": "paid", "payment_intent": payment, "url": None}
        self.happens("checkout.session.completed", session)
        return payment

    def refund(self, payment: str, cents: int, status: str = "succeeded") -> str:
        charge = self._charge(payment)
        name = _new("re")
        refund = {"id": name, "object": "refund", "amount": cents, "charge": charge["id"], "currency": "usd"}
        self.refunds[name] = refund | {"payment_intent": payment, "status": status, "created": self._now_s()}
        self._count(charge)
        self.happens("charge.refunded", charge)
        return name

    def fail_refund(self, name: str) -> None:
        self.refunds[name]["status"] = "failed"
        self._count(self.charges[self.refunds[name]["charge"]])
        self.happens("refund.failed", self.refunds[name])

    def dispute(self, payment: str, status: str = "needs_response") -> str:
        charge = self._charge(payment)
        charge["disputed"] = True
        name = _new("du")
        dispute = {"id": name, "object": "dispute", "amount": charge["amount"], "charge": charge["id"]}
        dispute |= {"currency": "usd", "payment_intent": payment, "status": status, "created": self._now_s()}
        self.disputes[name] = dispute
        self.happens("charge.dispute.created", dispute)
        return name

    def decide(self, dispute: str, status: str) -> None:
        self.disputes[dispute]["status"] = status
        self.happens("charge.dispute.closed", self.disputes[dispute])

    def happens(self, kind: str, about: dict[str, Any]) -> None:
        event = {"id": _new("evt"), "object": "event", "type": kind, "created": self._now_s(), "livemode": False}
        self.events.append(event | {"data": {"object": deepcopy(about)}})

    # -- the API ------------------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> tuple[int, str]:
        self.asked.append(asked)
        if self.spoil is not None:
            return self.spoil
        try:
            answer = self._answer(asked)
        except Refusal as error:
            answer = error.answer
        if self.lost:
            self.lost -= 1
            return 200, "<html>"
        return answer

    def _answer(self, asked: Asked) -> tuple[int, str]:
        key = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if key not in (KEY, SECRET_KEY, LIVE_KEY):
            message = f"Invalid API Key provided: {key[:8]}{'*' * 8}{key[-4:]}"
            raise Refusal(401, "invalid_request_error", message)
        path, query = urlsplit(asked.path).path.removeprefix("/v1/"), urlsplit(asked.path).query
        if (asked.method, path) == ("POST", "checkout/sessions"):
            return self._once(asked)
        return 200, json.dumps(self._found(path, _nested(query)))

    def _once(self, asked: Asked) -> tuple[int, str]:
        """The same key and parameters get the same answer."""
        key = asked.headers["idempotency-key"]
        if key not in self._keys:
            self._keys[key] = asked.body, (200, json.dumps(self._made(_nested(asked.body.decode()))))
        body, answer = self._keys[key]
        if body != asked.body:
            message = "Keys for idempotent requests can only be used with the same parameters they were first used with"
            raise Refusal(400, "idempotency_error", message)
        return answer

    def _found(self, path: str, query: dict[str, Any]) -> Any:
        if path == "events":
            return self._listed(
                [event for event in self._kept() if event["type"] in _values(query.get("types"))], query
            )
        if path == "checkout/sessions":
            paid = [
                each for each in self.sessions.values() if query.get("payment_intent") in (None, each["payment_intent"])
            ]
            page = self._listed(paid, query)
            expand = "data.payment_intent.latest_charge.refunds" in _values(query.get("expand"))
            page["data"] = [self._expanded(each) if expand else each for each in page["data"]]
            return page
        if path in _LISTS:
            rows = [
                each for each in vars(self)[_LISTS[path]].values() if query.get("charge") in (None, each.get("charge"))
            ]
            return self._listed(rows, query)
        name = path.removeprefix("checkout/sessions/")
        if name not in self.sessions:
            raise Refusal(
                404, "invalid_request_error", f"No such checkout.session: '{name}'", "resource_missing", "session"
            )
        self._age(self.sessions[name])
        expand = "payment_intent.latest_charge.refunds" in _values(query.get("expand"))
        return self._expanded(self.sessions[name]) if expand else self.sessions[name]

    def _listed(self, rows: list[dict[str, Any]], query: dict[str, Any]) -> dict[str, Any]:
        """A page of a list, the newest first, and whether it goes on in the direction asked for."""
        newest = rows[::-1]
        if until := _values(query.get("created")):
            newest = [row for row in newest if row["created"] <= int(until[0])]
        limit, names = int(query.get("limit", 10)), [row["id"] for row in newest]
        for param in ("starting_after", "ending_before"):
            if param in query and query[param] not in names:
                raise Refusal(400, "invalid_request_error", f"No such id: '{query[param]}'", "resource_missing", param)
        if "ending_before" in query:
            newest = newest[: names.index(query["ending_before"])]
            return {"object": "list", "data": newest[-limit:], "has_more": len(newest) > limit}
        if "starting_after" in query:
            newest = newest[names.index(query["starting_after"]) + 1 :]
        return {"object": "list", "data": newest[:limit], "has_more": len(newest) > limit}

    def _made(self, asked: dict[str, Any]) -> dict[str, Any]:
        if unknown := asked.keys() - _MAY_ASK:
            message = f"Received unknown parameter: {min(unknown)}"
            raise Refusal(400, "invalid_request_error", message, "parameter_unknown", min(unknown))
        now_s, expires_at = self._now_s(), int(asked["expires_at"])
        if not 1_800 <= expires_at - now_s <= 86_400:
            message = (
                "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation."
            )
            raise Refusal(400, "invalid_request_error", message, param="expires_at")
        price = asked["line_items"]["0"]["price_data"]
        cents, name = int(price["unit_amount"]), f"cs_test_{secrets.token_hex(29)}"
        if cents < 50:
            message = "The Checkout Session's total amount due must add up to at least $0.50 usd"
            raise Refusal(400, "invalid_request_error", message, "amount_too_small")
        session = {
            "id": name,
            "object": "checkout.session",
            "amount_subtotal": cents,
            "amount_total": cents,
            "client_reference_id": asked["client_reference_id"],
            "created": now_s,
            "currency": price["currency"],
            "expires_at": expires_at,
            "livemode": False,
            "metadata": asked["metadata"],
            "mode": asked["mode"],
            "payment_intent": None,
            "payment_method_options": asked["payment_method_options"],
            "payment_method_types": _values(asked["payment_method_types"]),
            "payment_status": "unpaid",
            "status": "open",
            "url": f"https://checkout.stripe.com/c/pay/{name}#fidkdWxOYHwnPyd1",
        }
        self.sessions[name] = session | self.change
        return self.sessions[name]

    def _expanded(self, session: dict[str, Any]) -> dict[str, Any]:
        if session["payment_intent"] is None:
            return session
        intent = self.intents[session["payment_intent"]]
        charge = self.charges[intent["latest_charge"]]
        refunds = self._listed([each for each in self.refunds.values() if each["charge"] == charge["id"]], {})
        return session | {"payment_intent": intent | {"latest_charge": charge | {"refunds": refunds}}}

    def _kept(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["created"] > self._now_s() - EVENTS_KEPT_S]

    def _charge(self, payment: str) -> dict[str, Any]:
        return self.charges[self.intents[payment]["latest_charge"]]

    def _count(self, charge: dict[str, Any]) -> None:
        taken = [
            each["amount"]
            for each in self.refunds.values()
            if each["charge"] == charge["id"] and each["status"] != "failed"
        ]
        charge |= {"amount_refunded": sum(taken), "refunded": sum(taken) == charge["amount"]}

    def _age(self, session: dict[str, Any]) -> None:
        if session["status"] == "open" and self._now_s() >= session["expires_at"]:
            session |= {"status": "expired", "url": None}

    def _now_s(self) -> int:
        return self._clock() // 1_000


def _new(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"


def _nested(form: str) -> dict[str, Any]:
    """A form as Stripe reads it: a[b][0]=1 is {"a": {"b": {"0": "1"}}}."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(form, strict_parsing=bool(form)):
        *path, last = re.findall(r"[^\[\]]+", name)
        place = found
        for each in path:
            place = place.setdefault(each, {})
        place[last] = value
    return found


def _values(nested: Any) -> list[Any]:
    return list(nested.values()) if isinstance(nested, dict) else []


@contextmanager
def running(clock: Callable[[], int]) -> Iterator[ScriptedStripe]:
    server = ScriptedStripe(clock)

    def answer(asked: Asked) -> tuple[int, bytes]:
        status, said = server.answer(asked)
        return status, said.encode()

    with answering(answer) as server.url:
        yield server
