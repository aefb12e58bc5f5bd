"""YAML that people write is read strictly, and every error names its line."""

from __future__ import annotations

import pytest

from greenlight.lib.documents import MAX_BYTES, DocumentError, load


def read(text: str) -> object:
    (document,) = load(text, "f.yaml")
    return document.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("True", "True"),
        ("true", True),
        ("false", False),
        ("0755", "0755"),
        ("0x1f", "0x1f"),
        ("12:30:45", "12:30:45"),
        ("2026-01-02", "2026-01-02"),
        (".inf", ".inf"),
        ("1_000", "1_000"),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("!!int 12", 12),
        ("!!map {a: 1}", {"a": 1}),
    ],
)
def test_plain_words_are_read_as_json_reads_them(text: str, value: object) -> None:
    """Only true, false, null and JSON's numbers are anything but text."""
    found = read(f"- {text}")
    assert found == [value]
    assert type(found[0]) is type(value)


@pytest.mark.parametrize("text", ["~", "null", ""])
def test_null_has_three_spellings(text: str) -> None:
    """An empty value is null too."""
    assert read(f"a: {text}") == {"a": None}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: &x 2", 2, "anchors"),
        ("a: 1\n\nb: *a", 3, "aliases"),
        ("? &x a\n: b", 1, "anchors"),
        ("a: 1\nb:\n  c: 2\n  c: 3", 4, "'c' is there twice; first on line 3"),
        ("a:\n- 1\n- !!python/object:os.system x", 3, "tag"),
        ("a: !secret x", 1, "tag"),
        ("a: !!int x", 1, "tag"),
        ("1: a", 1, "a key must be text"),
        ("[a]: b", 1, "a key must be text"),
        ("a: 1e999", 1, "too large"),
        ("a: 12345678901234567890", 1, "too large"),
        ("a: 1\nb: ]", 2, "is not YAML"),
        ("a:\n\t- b", 2, "is not YAML"),
        ("a: \x07", 1, "is not YAML"),
        ("[" * 65 + "]" * 65, 1, "nested deeper than 64"),
        ("[" * 200_000, 1, "nest"),
        ("a: " + "x" * MAX_BYTES, 1, "larger than 256 KiB"),
    ],
)
def test_what_is_refused_names_its_line(text: str, line: int, says: str) -> None:
    """References, duplicate keys, foreign tags, numbers that are not exact, depth and size."""
    with pytest.raises(DocumentError) as error:
        load(text, "f.yaml")
    assert (error.value.name, error.value.line) == ("f.yaml", line)
    assert says in str(error.value)
    assert str(error.value).startswith(f"f.yaml:{line}: ")


def test_row_43_a_yaml_bomb_is_refused_at_its_first_anchor() -> None:
    """Six levels of ten aliases would be a million values."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 7)]
    with pytest.raises(DocumentError, match=r"bomb\.yaml:1: anchors and aliases"):
        load("\n".join(levels), "bomb.yaml")


def test_a_document_knows_the_lines_of_its_parts() -> None:
    """Of a key in a mapping, of an item in a list, and of the nearest holder of what is not there."""
    first, second = load("a: 1\nb:\n  - x\n  - c: {d: 1,\n     e: 2}\n---\n---\nz: 1\n", "f.yaml")
    assert [first.line(path) for path in ([], ["a"], ["b"], ["b", 1], ["b", 1, "c", "e"])] == [1, 1, 2, 4, 5]
    assert first.line(["b", 1, "nowhere", 3]) == 4
    assert second.value == {"z": 1}
    assert second.line(["z"]) == 8
