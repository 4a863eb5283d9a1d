"""What a person can mend is one line on standard error and status 1; a wrong command line is status 2."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.serving import run_command

UNREACHABLE: Final = 'database_url = "postgresql://perquery:a-secret@127.0.0.1:1/perquery"'
CASES: Final = {
    "the configuration": (("account", "show", "1"), "no PerQuery database at", ""),
    "an argument": (("sandbox", "pay", "nonsense"), "not a Lightning invoice", ""),
    "the database": (("serve", "--port", "0"), "the database does not answer: connection failed", UNREACHABLE),
    "a file": (("serve", "--port", "0"), "Not a directory", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, case: str) -> None:
    words, says, settings = CASES[case]
    file = tmp_path / "perquery.toml"
    file.write_text(settings, "utf-8")
    folder = Path("/dev/null/data") if says == "Not a directory" else tmp_path
    done = run_command(*words, data=folder, config=file, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("perquery: ") and says in done.stderr and done.stderr.count("\n") == 1
    assert "a-secret" not in done.stderr


def test_a_wrong_command_line_has_a_status_of_its_own(tmp_path: Path) -> None:
    assert run_command("account", "shew", data=tmp_path, check=False).returncode == 2
