"""Large modules that are loaded at first use."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from perquery.later import Later

# Loaded by who has such a rail, page or database, and by nobody else.
LARGE: Final = ("lwk", "psycopg", "stripe", "webauthn")


def test_it_is_the_module_once_something_of_it_is_used() -> None:
    script = (
        "import sys; from perquery.later import Later; late = Later('wave'); print('wave' in sys.modules);"
        "print(late.WAVE_FORMAT_PCM, 'wave' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1", "True"]


def test_what_is_missing_says_so_when_it_is_used() -> None:
    nothing = Later("perquery_has_no_such_module")
    with pytest.raises(ModuleNotFoundError, match="perquery_has_no_such_module"):
        nothing.anything  # noqa: B018


def test_a_gateway_loads_no_library_of_what_it_does_not_have() -> None:
    script = f"import sys, perquery.cli.serve; print([name for name in {LARGE} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
