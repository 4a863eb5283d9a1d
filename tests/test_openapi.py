"""Every operation of GET /openapi.json, asked in the ways the document allows and in ways it does not, by schemathesis.

A real process answers. It may refuse, in the document's own words; it may never break. What each answer must be:
a status and a content type that the document names, JSON as its schema says, errors in our one shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving import Gateway, scripted_config, serving
from tests.upstream import upstream_process

EXAMPLES_SLOW: Final = 20
MODES: Final = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
CALLERS: Final = ("key", "owner", "anybody")
CASES: Final = tuple(product(MODES, CALLERS))
# Only the owner gets everywhere; of the others a glance is enough where time is short.
FEW: Final = (
    (GenerationMode.POSITIVE, "owner", 3),
    (GenerationMode.NEGATIVE, "owner", 3),
    (GenerationMode.POSITIVE, "key", 1),
    (GenerationMode.NEGATIVE, "anybody", 1),
)
ENDLESS: Final = ("/topup/events",)  # tests/fire/test_events.py
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
LIMITS: Final = "[limits]\naccounts_per_address_hour = 1000000\nopen_invoices_per_account = 1000000\n"


@dataclass(frozen=True)
class Office:
    """A gateway, an account with credit, and names of things that exist there, by the name of the parameter."""

    gateway: Gateway
    headers: dict[str, dict[str, str]]
    known: dict[str, str]
    document: dict[str, Any]
    secrets: tuple[str, ...]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("openapi")
    with upstream_process() as upstream, serving(folder, scripted_config(folder, upstream, LIMITS)) as gateway:
        yield opened(gateway)
        check_afterwards(gateway)


def opened(gateway: Gateway) -> Office:
    credit_id, key = gateway.account("10")
    owner = {"x-credit-id": credit_id}
    spare = gateway.call("POST", "/keys", {"name": "spare"}, headers=owner).json()["data"]
    invoice = gateway.call("POST", "/topup/create/btc-lightning", {"amount": 1}, key=key).json()
    known = {
        "key_id": spare["_id"],
        "invoice_id": invoice["invoice_id"],
        "rail": "btc-lightning",
        "model": "stub-model",
        "credit_id": credit_id,
    }
    headers = {"key": {"authorization": f"Bearer {key}"}, "owner": owner, "anybody": {}}
    document = gateway.call("GET", "/openapi.json").json()
    return Office(gateway, headers, known, document, (key, credit_id, spare["api_key"], "secret-of-the-house"))


def check_afterwards(gateway: Gateway) -> None:
    assert gateway.call("GET", "/health").status == 200
    books = gateway.command("ledger", "verify")
    assert (books["ok"], books["figures"]["held"], books["figures"]["open_holds"]) == (True, 0, 0)
    assert "Traceback" not in (gateway.data / "gateway.log").read_text()


def operations(document: dict[str, Any], *, with_credentials: bool) -> list[Any]:
    """The document's operations; with credentials, where ours are not to be sent."""
    config = schemathesis.Config.from_dict({"generation": {"with-security-parameters": with_credentials}})
    found_all: Any = schemathesis.openapi.from_dict(document, config=config).get_all_operations()
    return [found.ok() for found in found_all if found.ok().path not in ENDLESS]


def check_error(answer: Any) -> None:
    """Ours alone, whatever the document says."""
    body = answer.json()
    inner = body["error"]
    assert (body["status"], body["statusCode"], body["message"]) == ("error", answer.status_code, inner["message"])
    assert all(isinstance(inner[name], str) and inner[name] for name in ("message", "type", "code"))
    assert isinstance(inner["param"], str | None)


def point(case: Any, known: dict[str, str]) -> None:
    """At what exists: what is made up would nearly always end in a 404."""
    for place in (case.path_parameters, case.query, case.body):
        if isinstance(place, dict):
            place.update({name: known[name] for name in place.keys() & known.keys()})


def checks_of(path: str, caller: str) -> list[Any]:
    """Only the owner gets as far as the parameters everywhere. A balance's body is not read beside a header."""
    return [*CHECKS, negative_data_rejection] if caller == "owner" and path != "/credits/balance" else CHECKS


def attack(office: Office, mode: GenerationMode, caller: str, examples: int) -> None:
    asked: list[str] = []
    with requests.Session() as session:
        for operation in operations(office.document, with_credentials=caller == "anybody"):

            @settings(
                max_examples=examples,
                derandomize=True,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.explicit, Phase.generate),
            )
            @given(operation.as_strategy(generation_mode=mode), st.booleans())
            def ask(case: Any, pointed: bool) -> None:
                if pointed and mode is GenerationMode.POSITIVE:
                    point(case, office.known)
                asked.append(case.operation.path)
                answer = case.call(office.gateway.base_url, session=session, headers=office.headers[caller])
                case.validate_response(answer, checks=checks_of(case.operation.path, caller))
                if answer.status_code >= 400 and case.method != "HEAD":
                    check_error(answer)
                sent_secret = case.operation.path in ("/keys", "/accounts/create")
                assert sent_secret or not any(secret.encode() in answer.content for secret in office.secrets)

            with suppress(Unsatisfiable):  # an operation that takes anything cannot be asked wrongly
                ask()
    assert len(asked) > 50


@pytest.mark.parametrize(("mode", "caller", "examples"), FEW)
def test_whatever_is_asked_is_answered_as_documented(
    office: Office, mode: GenerationMode, caller: str, examples: int
) -> None:
    attack(office, mode, caller, examples)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "caller"), CASES)
def test_whatever_else_is_asked_is_answered_as_documented(office: Office, mode: GenerationMode, caller: str) -> None:
    attack(office, mode, caller, EXAMPLES_SLOW)


def test_other_methods_are_refused(office: Office) -> None:
    for path, verbs in office.document["paths"].items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {verb.upper() for verb in verbs}:
            answer = office.gateway.call(method, path.replace("{", "").replace("}", ""))
            socket = method == "GET" and path.endswith("/responses")
            expected = (426, "websocket_not_supported") if socket else (405, "method_not_allowed")
            assert (answer.status, answer.json()["error"]["code"]) == expected, f"{method} {path}"
            assert answer.headers["allow"]
