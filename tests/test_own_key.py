"""The gateway's own secret: from the setting, else from a file that is made once; keys derived from it differ."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perquery.config import Settings
from perquery.own_key import FILE_NAME, derived, own_key


def test_the_setting_is_the_key(tmp_path: Path) -> None:
    first, second = (own_key(Settings(data=tmp_path, secret_key=letter * 32)) for letter in "ab")
    assert first and second and first != second and len(first) == 32
    assert not (tmp_path / FILE_NAME).exists()


def test_without_it_a_file_is_made_once_that_nobody_else_reads(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(lambda _: own_key(Settings(data=tmp_path)), range(8)))
    assert len(set(keys)) == 1 and keys[0] is not None
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


def test_another_database_needs_the_setting(tmp_path: Path) -> None:
    assert own_key(Settings(data=tmp_path, database_url="postgresql://user@host/name")) is None


def test_a_damaged_file_is_not_used(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"short")
    with pytest.raises(OSError, match="damaged"):
        own_key(Settings(data=tmp_path))


def test_each_purpose_has_a_key_of_its_own() -> None:
    key = b"k" * 32
    assert len({key, derived(key, "one"), derived(key, "two")}) == 3
