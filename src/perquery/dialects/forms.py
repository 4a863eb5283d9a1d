"""What callers send to the endpoints that are not chat: a JSON object, or a form with files (multipart/form-data).

Pure. Both become one `Form`, so that an endpoint's parser knows no encoding. A file is what its bytes are: neither its
name nor its content type is believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from perquery.calls import Upload
from perquery.dialects.fields import object_of
from perquery.errors import BadRequest

PARTS_MAX: Final = 200
HEAD_BYTES_MAX: Final = 8 * 1024
_BOUNDARY: Final = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
_PARAMETER: Final = re.compile(r';\s*(name|filename)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """fields: of a form all texts, and lists of them where one comes several times or is called `name[]`. identity:
    what two requests that ask the same have in common.
    """

    fields: dict[str, Any]
    files: tuple[Upload, ...]
    identity: bytes


def form_in(raw: bytes, content_type: str) -> Form:
    """The body of a request. Raises BadRequest."""
    if not content_type.lower().startswith("multipart/form-data"):
        return Form(object_of(raw), (), raw)
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise _malformed("the content type names no boundary")
    fields: dict[str, Any] = {}
    files: list[Upload] = []
    for named, data in _parts(raw, (found[1] or found[2]).encode("latin-1")):
        if "name" not in named:
            raise _malformed("a part has no name")
        if "filename" in named:
            files.append(Upload(named["name"].removesuffix("[]"), named["filename"], data))
        else:
            _put(fields, named["name"], _text(data, named["name"]))
    sums = [(file.field, file.name, sha256(file.data).hexdigest()) for file in files]
    return Form(fields, tuple(files), orjson.dumps([fields, sums], option=orjson.OPT_SORT_KEYS))


def _put(fields: dict[str, Any], name: str, text: str) -> None:
    key = name.removesuffix("[]")
    if key in fields:
        before = fields[key]
        fields[key] = [*before, text] if isinstance(before, list) else [before, text]
    else:
        fields[key] = [text] if key != name else text


def _parts(raw: bytes, boundary: bytes) -> Iterator[tuple[Mapping[str, str], bytes]]:
    """(name and filename, content) of each part (RFC 7578)."""
    delimiter = b"\r\n--" + boundary
    at = 0 if raw.startswith(delimiter[2:]) else raw.find(delimiter) + 2
    if at == 1:
        raise _malformed("its boundary does not occur")
    at += len(boundary) + 2
    for _ in range(PARTS_MAX):
        if raw.startswith(b"--", at):
            return
        head_end = raw.find(b"\r\n\r\n", at, at + HEAD_BYTES_MAX)
        end = raw.find(delimiter, head_end + 2)
        if head_end < 0 or end < 0 or not raw.startswith(b"\r\n", at):
            raise _malformed("a part does not end")
        yield _named(_text(raw[at:head_end], "head")), raw[head_end + 4 : end]
        at = end + len(delimiter)
    raise _malformed(f"it has more than {PARTS_MAX} parts")


def _named(head: str) -> dict[str, str]:
    for line in head.split("\r\n"):
        if line.lower().startswith("content-disposition:"):
            return {name.lower(): re.sub(r"\\(.)", r"\1", value) for name, value in _PARAMETER.findall(line)}
    return {}


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"`{where[:100]}` is not UTF-8.", param=where[:100]) from error


def _malformed(what: str) -> BadRequest:
    return BadRequest(f"The form cannot be read: {what}.", code="malformed_form")
