"""A local model's process: begun by the first request, one for many, tried again, gone with its parent."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from perquery.providers.child import Address, Child, LocalModelError
from tests.providers import small_model

MODULE = small_model.__name__
ROOT = Path(__file__).parents[2]
PARENT = f"""
import sys
from perquery.providers.child import Child
model = Child({MODULE!r}, ())
address = model.open()
print(address.base_url, address.key, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says how the model fails to start."""
    monkeypatch.setenv(small_model.FAILS, str(tmp_path / "fails"))
    return tmp_path / "fails"


@pytest.fixture
def model() -> Iterator[Child]:
    child = Child(MODULE, ())
    yield child
    child.stop()


def ask(address: Address, body: bytes = b"", key: str = "") -> tuple[int, bytes]:
    place = urlsplit(address.base_url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    try:
        connection.request("POST", "/v1/say", body, {"authorization": f"Bearer {key or address.key}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def refused(address: Address, body: bytes = b"") -> str:
    status, answer = ask(address, body)
    assert (status, json.loads(answer)["error"]["code"]) == (503, "local_model_unavailable")
    return str(json.loads(answer)["error"]["message"])


def test_nothing_runs_before_the_first_request(model: Child) -> None:
    address = model.open()
    before = model.pid
    assert ask(address) == (200, b"%d" % (model.pid or 0))
    assert before is None


def test_first_requests_at_once_start_one_process(model: Child) -> None:
    address = model.open()
    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(lambda _: ask(address), range(8)))
    assert answers == {(200, b"%d" % (model.pid or 0))}


def test_a_model_that_does_not_start_answers_503_and_is_tried_again(model: Child, fails: Path) -> None:
    address = model.open()
    fails.write_text("error")
    assert refused(address, b"x" * 2**20) == "the local model does not start: its weights are gone"
    fails.write_text("exit")
    assert "exit status 3" in refused(address)
    fails.unlink()
    assert ask(address)[0] == 200


def test_all_who_wait_for_what_does_not_start_are_told(model: Child, fails: Path) -> None:
    address = model.open()
    fails.write_text("error")
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: refused(address), range(4)))) == 1


def test_a_model_that_has_died_is_started_again(model: Child) -> None:
    address = model.open()
    _, first = ask(address)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(address, b"die")
    status, second = ask(address)
    assert status == 200 and first != second


def test_nobody_else_is_answered(model: Child) -> None:
    assert ask(model.open(), key="another")[0] == 401


def test_the_key_stands_neither_in_the_command_line_nor_in_repr(model: Child) -> None:
    address = model.open()
    _, pid = ask(address)
    assert address.key.encode() not in Path(f"/proc/{pid.decode()}/cmdline").read_bytes()
    assert address.key not in repr(address)


def test_stop_ends_the_process(model: Child) -> None:
    address = model.open()
    process = os.pidfd_open(int(ask(address)[1]))
    model.stop()
    assert select.select([process], [], [], 30)[0]
    os.close(process)
    with pytest.raises(ConnectionRefusedError):
        ask(address)


def test_stop_ends_what_never_ran_and_what_was_never_opened(model: Child) -> None:
    model.stop()
    model.open()
    model.stop()
    model.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_dies_with_its_parent(how: signal.Signals) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdin=pipe, stdout=pipe) as parent:
        assert parent.stdout is not None
        _, pid = ask(Address(*parent.stdout.readline().decode().split()))
        child = os.pidfd_open(int(pid))
        parent.send_signal(how)
    ended, _, _ = select.select([child], [], [], 30)
    os.close(child)
    assert ended


def test_missing_packages_are_named() -> None:
    with pytest.raises(LocalModelError, match=r"no-such-package.*make install"):
        Child("x", (("no_such_module", "no-such-package"),)).open()
