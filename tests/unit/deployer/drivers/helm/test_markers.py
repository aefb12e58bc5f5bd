"""What takes the place of the markers in Helm's values."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenlight.deployer.driver import Order
from greenlight.deployer.drivers.helm.markers import filled

SHA = "3f2a91c" + "0" * 33


def order(ref: str) -> Order:
    config = {"values": {}}
    return Order("d", "shop", "live", "acme/shop", SHA, 1, 0, "t", config, Path(), {"shop": "sha256:a"}, ref=ref)


def test_each_marker_is_replaced_wherever_a_text_stands() -> None:
    """In lists, beside other text, several times; keys and what is no text stay."""
    values = {"${sha}": ["${short_sha}-${environment}", 1, {"a": "${repo}@${artifacts.shop}"}], "b": "${tag}/${tag}"}
    expected = {"${sha}": ["3f2a91c-live", 1, {"a": "acme/shop@sha256:a"}], "b": "v1/v1"}
    assert filled(values, order("refs/tags/v1")) == expected


@pytest.mark.parametrize(
    "name", ["$(id)", "a;b", "{{.Values.x}}", "${sha}", "${artifacts.none}", "\\1", "é\u202e", "a/b,c=d"]
)
def test_the_name_of_a_tag_is_text(name: str) -> None:
    """It is put in as it is, and nothing in it is replaced again."""
    assert filled({"tag": "<${tag}>"}, order(f"refs/tags/{name}")) == {"tag": f"<{name}>"}
