"""Files at URLs of their content, the operator's logo, and an accent that can be read in either scheme."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perquery.config import ConfigError, SiteSetting
from perquery.web import colours
from perquery.web.assets import Assets


def test_a_files_url_follows_its_content() -> None:
    plain, blue = Assets(SiteSetting()), Assets(SiteSetting(accent="#0000ff"))
    assert plain.url("site.js") == blue.url("site.js") and plain.url("site.css") != blue.url("site.css")
    found = plain.at(plain.url("site.css"))
    assert found is not None and len(found.gzipped) < len(found.body)
    assert plain.at("/static/site.css") is None


def test_a_logo_is_a_picture_of_a_fit_size(tmp_path: Path) -> None:
    logo = tmp_path / "Logo.SVG"
    logo.write_text("<svg/>", "utf-8")
    assets = Assets(SiteSetting(logo=logo))
    found = assets.at(assets.url(assets.logo))
    assert found is not None and (found.body, found.media_type) == (b"<svg/>", "image/svg+xml")
    logo.write_bytes(b"x" * 300_000)
    for wrong, words in ((logo, "larger"), (tmp_path / "none.svg", "cannot be read"), (tmp_path / "a.exe", "SVG")):
        with pytest.raises(ConfigError, match=words):
            Assets(SiteSetting(logo=wrong))


@pytest.mark.parametrize("accent", ["#ffff00", "#000000", "#ffffff", "#0b6a4a", "#ff0000", "#808080"])
def test_any_accent_can_be_read(accent: str) -> None:
    light, on_light, dark, on_dark = (
        colours.parsed(found) for found in re.findall(r"#[0-9a-f]{6}", colours.stylesheet(accent))
    )
    assert colours.contrast(light, colours.PAPER) >= 4.5 and colours.contrast(dark, colours.NIGHT) >= 4.5
    assert colours.contrast(light, on_light) >= 4.5 and colours.contrast(dark, on_dark) >= 4.5


def test_an_accent_that_can_be_read_is_kept() -> None:
    assert "--accent:#0b6a4a" in colours.stylesheet("#0b6a4a")
