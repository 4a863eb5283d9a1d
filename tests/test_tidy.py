"""The tree keeps the house rules, and each rule catches what it is there for (a small bad snippet)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests import tidy
from tests.tidy import Source, source

ROOT = Path(__file__).parents[1]
CODE = ("src", "tests", "bench", "scripts")
SKIPPED = ("__pycache__", "build", "dist")


def files() -> Iterator[Path]:
    """Every file of the project, generated ones and other people's folders left out."""
    for folder, folders, found in os.walk(ROOT):
        folders[:] = sorted(
            name
            for name in folders
            if name not in SKIPPED and not name.endswith(".egg-info") and (not name.startswith(".") or name == ".ci")
        )
        yield from (Path(folder) / name for name in sorted(found) if name != ".git")  # a file in a second work tree


def python_files() -> list[Source]:
    paths = [path for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in CODE]
    return [source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths]


@pytest.fixture(scope="module")
def tree() -> list[Source]:
    return python_files()


def report(findings: Iterable[str]) -> str:
    return "\n".join(findings)


@pytest.mark.parametrize("rule", tidy.PYTHON_RULES, ids=lambda rule: rule.__name__)
def test_tree(tree: list[Source], rule: Callable[[Source], Iterable[str]]) -> None:
    findings = report(line for file in tree for line in rule(file))
    assert not findings, f"\n{rule.__doc__ or rule.__name__}\n{findings}"


def test_function_lines(tree: list[Source]) -> None:
    longer = tidy.longer_functions((ROOT / "STYLE.md").read_text("utf-8"))
    findings = report(line for file in tree for line in tidy.function_lines(file, longer))
    assert not findings, f"\n{findings}"


def test_longer_functions_are_still_longer(tree: list[Source]) -> None:
    longer = tidy.longer_functions((ROOT / "STYLE.md").read_text("utf-8"))
    found = {line.partition(":")[0] + ":" + line.split("`")[1] for file in tree for line in tidy.function_lines(file)}
    assert longer <= found, f"STYLE.md allows what needs no allowance: {sorted(longer - found)}"


def test_text_of_every_file() -> None:
    findings: list[str] = []
    for path in files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        findings += tidy.text_findings(path.relative_to(ROOT).as_posix(), text)
    assert not findings, "\n" + report(findings)


def test_style_names_every_rule() -> None:
    style = (ROOT / "STYLE.md").read_text("utf-8")
    missing = [rule.__name__ for rule in tidy.PYTHON_RULES if f"`{rule.__name__}`" not in style]
    assert not missing


LONG = "def f() -> None:\n" + "    x = 1\n" * 60
PROTOCOL = "from typing import Protocol\nclass P(Protocol):\n" + "".join(
    f"    def v{number}(self) -> None: ...\n" for number in range(4)
)
LOOP = "while True:\n    try:\n        f()\n    except Exception:\n        log.exception('x')\n"
BAD: list[tuple[Callable[[Source], Iterable[str]], str, str]] = [
    (tidy.layers, "src/perquery/store/x.py", "from perquery.accounts import Accounts"),
    (tidy.layers, "src/perquery/store/x.py", "from perquery import accounts"),
    (tidy.layers, "src/perquery/catalog/x.py", "import perquery.store.ledger"),
    (tidy.layers, "src/perquery/routes/x.py", "from perquery.store import tables"),
    (tidy.layers, "src/perquery/routes/x.py", "from .chat import chat"),
    (tidy.layers, "src/perquery/money.py", "from perquery import errors"),
    (tidy.layers, "src/perquery/rails/x.py", "def f():\n    from perquery.payouts import y"),
    (tidy.layers, "src/perquery/novelty/x.py", "x = 1"),
    (tidy.function_lines, "src/perquery/x.py", LONG),
    (tidy.file_lines, "tests/x.py", "x = 1\n" * 501),
    (tidy.module_docstring, "src/perquery/x.py", "x = 1"),
    (tidy.protocol_verbs, "src/perquery/x.py", PROTOCOL),
    (tidy.imports_in_functions, "bench/x.py", "def f():\n    import os"),
    (tidy.module_state, "src/perquery/x.py", "cache = {'a': 1}"),
    (tidy.module_state, "src/perquery/x.py", "CACHE: dict[str, int] = {}"),
    (tidy.module_state, "src/perquery/x.py", "SEEN = set()"),
    (tidy.module_state, "src/perquery/x.py", "QUEUE = collections.deque()"),
    (tidy.module_state, "src/perquery/x.py", "def f():\n    global x\n    x = 1"),
    (tidy.module_state, "src/perquery/x.py", "TABLE = {'a': 1}\ndef f():\n    TABLE['b'] = 2"),
    (tidy.module_state, "src/perquery/x.py", "ROWS = [1]\ndef f():\n    ROWS.append(2)"),
    (tidy.floats, "src/perquery/money.py", "markup = 1.05"),
    (tidy.floats, "src/perquery/topups/x.py", "amount = float(text)"),
    (tidy.floats, "src/perquery/metering/x.py", "amount = total / count"),
    (tidy.floats, "src/perquery/catalog/price.py", "def f(rate=0.5): ..."),
    (tidy.broad_excepts, "src/perquery/x.py", "try:\n    f()\nexcept Exception:\n    log.exception('x')"),
    (tidy.broad_excepts, "src/perquery/x.py", "try:\n    f()\nexcept:\n    pass"),
    (tidy.broad_excepts, "src/perquery/x.py", "try:\n    f()\nexcept (OSError, BaseException):\n    pass"),
    (tidy.broad_excepts, "src/perquery/x.py", LOOP.replace("log.exception('x')", "pass")),
    (tidy.names, "src/perquery/utils.py", ""),
    (tidy.names, "src/perquery/x.py", "class KeyManager: ..."),
    (tidy.names, "tests/x.py", "def price_helper(): ..."),
    (tidy.environment, "src/perquery/x.py", "import os\nkey = os.environ['KEY']"),
    (tidy.waiting_tests, "tests/x.py", "import time\ntime.sleep(0.1)"),
    (tidy.waiting_tests, "tests/x.py", "from unittest.mock import Mock"),
]
GOOD: list[tuple[Callable[[Source], Iterable[str]], str, str]] = [
    (tidy.layers, "src/perquery/routes/x.py", "from perquery.store import queries\nimport perquery.store.queries"),
    (tidy.layers, "src/perquery/store/x.py", "from perquery.store.tables import meta\nfrom perquery import money"),
    (tidy.layers, "src/perquery/app.py", "from perquery.store import ledger"),
    (tidy.layers, "tests/x.py", "from perquery.store import ledger"),
    (tidy.protocol_verbs, "src/perquery/x.py", PROTOCOL.replace("    def v3", "    @property\n    def v3")),
    (tidy.module_state, "src/perquery/x.py", "TABLE = {'a': 1}\n__all__ = ['a']\nnames = ('a', 'b')"),
    (tidy.floats, "src/perquery/topups/x.py", "PAUSE_S = 0.5\nwait(timeout_s=1.5)\npath = folder / 'name'"),
    (tidy.floats, "src/perquery/providers/x.py", "x = 0.5"),
    (tidy.broad_excepts, "src/perquery/x.py", LOOP),
    (tidy.broad_excepts, "src/perquery/x.py", "try:\n    f()\nexcept BaseException:\n    undo()\n    raise"),
    (tidy.names, "src/perquery/x.py", "@contextmanager\ndef held(): ..."),
    (tidy.environment, "src/perquery/config.py", "import os\nkey = os.environ['KEY']"),
    (tidy.waiting_tests, "tests/x.py", "await asyncio.sleep(0)"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BAD)
def test_rule_catches(rule: Callable[[Source], Iterable[str]], path: str, text: str) -> None:
    assert len(list(rule(source(path, text)))) == 1


@pytest.mark.parametrize(("rule", "path", "text"), GOOD)
def test_rule_lets_pass(rule: Callable[[Source], Iterable[str]], path: str, text: str) -> None:
    assert report(rule(source(path, text))) == ""


def test_longer_functions_are_read_from_the_style_guide() -> None:
    style = "## Longer functions\n- `src/perquery/x.py:f`: one table.\n- `unexplained.py:g`\n## Else\n- `y.py:h`: no\n"
    assert tidy.longer_functions(style) == {"src/perquery/x.py:f"}
    long = source("src/perquery/x.py", LONG)
    assert not list(tidy.function_lines(long, tidy.longer_functions(style)))
    assert list(
        tidy.function_lines(source("src/perquery/x.py", LONG + "    x = 1\n" * 20), tidy.longer_functions(style))
    )


@pytest.mark.parametrize(
    "line",
    ["# " + "TO" + "DO: later", "see https://pypi" + ".org/simple", "cd /" + "work/main", "open('/" + "root/x')"],
)
def test_text_rule_catches(line: str) -> None:
    assert len(list(tidy.text_findings("x.md", line))) == 1


@pytest.mark.parametrize("line", ["https://example.org/" + "work/x", "~/.config", "the method", "PyPI"])
def test_text_rule_lets_pass(line: str) -> None:
    assert not list(tidy.text_findings("x.md", line))
