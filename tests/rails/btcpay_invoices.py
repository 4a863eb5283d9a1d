"""A scripted BTCPay Server with a store that takes several coins: invoices, their payments and rates, in the shapes of
Greenfield 2.x, over a socket.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.answering import Asked, answering
from tests.rails.btcpay import STORE, refusal

KEY, BLIND, RICH = "invoice-key", "no-rates-key", "rich-key"
_ENOUGH = ("cancreateinvoice", "canviewinvoices")
PERMISSIONS: dict[str, list[str]] = {
    KEY: [f"btcpay.store.{each}:{STORE}" for each in (*_ENOUGH, "canviewstoresettings")],
    BLIND: [f"btcpay.store.{each}:{STORE}" for each in _ENOUGH],
    RICH: [f"btcpay.store.{each}:{STORE}" for each in (*_ENOUGH, "canviewstoresettings", "cancreatepullpayments")],
}
COINS = {"ZEC-CHAIN": "ZEC", "USDT-TRON": "USDT"}
State = Literal["Processing", "Settled", "Invalid"]


class ScriptedStore:
    """clock: milliseconds. rates: USD for a whole coin; spoil: (status, body) in place of every answer; change: what
    the next invoices are instead of what was asked for.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self.url = ""
        self.rates = {"ZEC": Decimal(40), "USDT": Decimal("0.9995"), "BTC": Decimal(100_000)}
        self.spoil: tuple[int, str] | None = None
        self.change: dict[str, Any] = {}
        self.invoices: dict[str, dict[str, Any]] = {}
        self.payments: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[str] = []
        self._locked: dict[str, dict[str, Decimal]] = {}
        self._clock = clock

    def pay(self, page: str, part: Decimal | str = "1", *, method: str = "ZEC-CHAIN", state: State = "Settled") -> str:
        """A payment of that part of what the invoice asks for; its id."""
        name = page.rpartition("/")[2]
        rate = self._locked[name][COINS[method]]
        due = (Decimal(self.invoices[name]["amount"]) / rate).quantize(Decimal("0.00000001"), "ROUND_UP")
        payment = {
            "id": secrets.token_hex(16),
            "receivedDate": self._clock() // 1000,
            "value": str((due * Decimal(part)).quantize(Decimal("0.00000001"))),
            "fee": "0",
            "status": state,
            "destination": "t1…",
            "method": method,
        }
        self.payments[name].append(payment)
        self._age(name)
        return str(payment["id"])

    def settle(self, payment: str, state: State = "Settled") -> None:
        """Let a payment become settled, or invalid."""
        for name, payments in self.payments.items():
            for each in payments:
                if each["id"] == payment:
                    each["status"] = state
                    self._age(name)

    def mark_invalid(self, page: str) -> None:
        """As the operator does it by hand."""
        self.invoices[page.rpartition("/")[2]] |= {"status": "Invalid", "additionalStatus": "Marked"}

    def answer(self, asked: Asked) -> tuple[int, str]:
        if self.spoil is not None:
            return self.spoil
        parts = urlsplit(asked.path)
        self.asked.append(f"{asked.method} {parts.path}")
        key = asked.headers.get("authorization", "").removeprefix("token ")
        if key not in PERMISSIONS:
            return refusal(401, "unauthenticated", "Authentication is required for accessing this endpoint")
        store = f"/api/v1/stores/{STORE}/"
        if parts.path == "/api/v1/server/info":
            return 200, json.dumps({"version": "2.0.6", "fullySynced": True})
        if parts.path == "/api/v1/api-keys/current":
            return 200, json.dumps({"apiKey": key, "label": "till", "permissions": PERMISSIONS[key]})
        if not parts.path.startswith(store):
            return refusal(404, "store-not-found", "The store was not found")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        place = [unquote(each) for each in parts.path.removeprefix(store).split("/")]
        if place == ["rates"]:
            return self._rate(key, query["currencyPair"])
        if asked.method == "POST":
            return self._made(json.loads(asked.body))
        return self._shown(place, query)

    def _shown(self, place: list[str], query: dict[str, str]) -> tuple[int, str]:
        for name in self.invoices:
            self._age(name)
        if place == ["invoices"]:
            rows = [row for row in self.invoices.values() if row["createdTime"] >= int(query["startDate"])]
            first = int(query["skip"])
            return 200, json.dumps(rows[::-1][first : first + int(query["take"])])
        if len(place) != 3 or place[1] not in self.invoices:
            return refusal(404, "invoice-not-found", "The invoice was not found")
        assert query == {"onlyAccountedPayments": "false"}
        return 200, json.dumps([self._method(place[1], each) for each in self.invoices[place[1]]["offers"]])

    def _rate(self, key: str, pair: str) -> tuple[int, str]:
        if not any("canviewstoresettings" in each for each in PERMISSIONS[key]):
            return refusal(403, "missing-permission", "Insufficient API Permissions: btcpay.store.canviewstoresettings")
        rate = self.rates.get(pair.removesuffix("_USD"))
        told = {"currencyPair": pair, "errors": [] if rate else ["No rate provider"], "rate": str(rate or 0)}
        return 200, json.dumps([told])

    def _made(self, asked: dict[str, Any]) -> tuple[int, str]:
        offers = asked["checkout"]["paymentMethods"]
        if unknown := [each for each in offers if each not in COINS]:
            wrong = [{"path": "checkout.paymentMethods", "message": f"Invalid payment method: {unknown[0]}"}]
            return 422, json.dumps(wrong)
        name, now = secrets.token_urlsafe(12), self._clock() // 1000
        row = {
            "id": name,
            "storeId": STORE,
            "amount": asked["amount"],
            "currency": asked["currency"],
            "type": "Standard",
            "checkoutLink": f"{self.url}/i/{name}",
            "createdTime": now,
            "expirationTime": now + asked["checkout"]["expirationMinutes"] * 60,
            "monitoringExpiration": now + asked["checkout"]["monitoringMinutes"] * 60,
            "status": "New",
            "additionalStatus": "None",
            "metadata": asked["metadata"],
            "offers": offers,
        } | self.change
        self.invoices[name], self.payments[name], self._locked[name] = row, [], dict(self.rates)
        return 200, json.dumps(row)

    def _method(self, name: str, method: str) -> dict[str, Any]:
        payments = [each for each in self.payments[name] if each["method"] == method]
        return {
            "paymentMethodId": method,
            "currency": COINS[method],
            "destination": "t1…",
            "rate": str(self._locked[name][COINS[method]]),
            "payments": [{key: value for key, value in each.items() if key != "method"} for each in payments],
            "activated": True,
        }

    def _age(self, name: str) -> None:
        """The statuses of BTCPay: by what was paid, when, and how far it is settled."""
        row = self.invoices[name]
        if row["additionalStatus"] == "Marked":
            return
        live = [each for each in self.payments[name] if each["status"] != "Invalid"]
        locked = self._locked[name]
        paid = sum((Decimal(each["value"]) * locked[COINS[each["method"]]] for each in live), Decimal(0))
        due, expired = Decimal(row["amount"]), self._clock() // 1000 >= row["expirationTime"]
        settled = all(each["status"] == "Settled" for each in live)
        row["additionalStatus"] = "PaidPartial" if 0 < paid < due else "PaidOver" if paid > due + 1 else "None"
        if expired and any(each["receivedDate"] >= row["expirationTime"] for each in live):
            row["additionalStatus"] = "PaidLate"
        full = paid >= due and row["additionalStatus"] != "PaidLate"
        row["status"] = ("Settled" if settled else "Processing") if full else "Expired" if expired else "New"


@contextmanager
def running(clock: Callable[[], int]) -> Iterator[ScriptedStore]:
    server = ScriptedStore(clock)

    def answer(asked: Asked) -> tuple[int, bytes]:
        status, said = server.answer(asked)
        return status, said.encode()

    with answering(answer) as server.url:
        yield server
