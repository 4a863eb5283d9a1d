"""Bodies that are not chat: JSON, or forms with files; whatever is sent, a form or a 400."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.dialects.forms import Form, form_in
from perquery.errors import BadRequest

KIND = "multipart/form-data; boundary=b1"


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'Content-Disposition: form-data; name="{name}"{named}\r\nContent-Type: x/y\r\n\r\n'
    return b"--b1\r\n" + head.encode() + data + b"\r\n"


def read(*parts: bytes, kind: str = KIND) -> Form:
    return form_in(b"".join(parts) + b"--b1--\r\n", kind)


def test_fields_and_files() -> None:
    form = read(part("model", b"whisper-1"), part("file", b"\x00\r\n--b2\r\n", "a.mp3"), part("empty", b""))
    assert form.fields == {"model": "whisper-1", "empty": ""}
    (file,) = form.files
    assert (file.field, file.name, file.data) == ("file", "a.mp3", b"\x00\r\n--b2\r\n")


def test_several_of_a_name_are_a_list() -> None:
    form = read(part("a[]", b"1"), part("b", b"1"), part("b", b"2"), part("c[]", b"1"), part("c[]", b"2"))
    assert form.fields == {"a": ["1"], "b": ["1", "2"], "c": ["1", "2"]}


def test_names_may_be_quoted() -> None:
    assert read(part('a\\"b', b"1")).fields == {'a"b': "1"}
    assert form_in(part("a", b"1") + b"--b1--", 'multipart/form-data; boundary="b1"').fields == {"a": "1"}


def test_what_stands_before_and_behind_is_nothing() -> None:
    assert form_in(b"hello\r\n" + part("a", b"1") + b"--b1--\r\nbye", KIND).fields == {"a": "1"}


def test_the_same_form_is_the_same_whatever_its_boundary() -> None:
    one = read(part("a", b"1"), part("f", b"x", "n"))
    sent = part("a", b"1") + part("f", b"x", "n") + b"--b1--"
    other = form_in(sent.replace(b"b1", b"zz"), KIND.replace("b1", "zz"))
    changed = read(part("a", b"1"), part("f", b"y", "n"))
    assert one.identity == other.identity != changed.identity


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", KIND),
        (b"--b1", KIND),
        (b"--b1--", "multipart/form-data"),
        (part("a", b"1"), KIND),
        (part("a", b"1")[:20] + b"--b1--", KIND),
        (b"--b1\r\nContent-Type: x\r\n\r\n1\r\n--b1--", KIND),
        (b"--b1" + b"x" * 100 + b"\r\n\r\n1\r\n--b1--", KIND),
        (part("a", b"\xff") + b"--b1--", KIND),
        (part("a", b"1") * 201 + b"--b1--", KIND),
        (b"--b1\r\n" + b"x: y\r\n" * 2_000 + b"\r\n1\r\n--b1--", KIND),
        (b"[]", "application/json"),
        (b"model=x", "application/x-www-form-urlencoded"),
    ],
    ids=range(12),
)
def test_what_cannot_be_read_is_a_400(raw: bytes, kind: str) -> None:
    with pytest.raises(BadRequest):
        form_in(raw, kind)


@given(st.lists(st.sampled_from([b"--b1", b"\r\n", b"--", b'Content-Disposition: form-data; name="a"', b"x", b"\xff"])))
def test_whatever_comes_is_a_form_or_a_400(pieces: list[bytes]) -> None:
    try:
        form = form_in(b"".join(pieces), KIND)
    except BadRequest:
        return
    assert form.fields.keys() <= {"a"}


@given(st.lists(st.binary(), max_size=5))
def test_files_are_what_was_sent(files: list[bytes]) -> None:
    clean = [data for data in files if b"--b1" not in data]
    form = read(*[part("f", data, "n") for data in clean])
    assert [file.data for file in form.files] == clean
