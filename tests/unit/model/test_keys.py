"""Keys of the ledger: no two kinds are ever equal, and nobody builds one by hand."""

from __future__ import annotations

import ast
import inspect
import re
from datetime import date
from pathlib import Path

from greenlight.model import keys

SOURCES = Path(keys.__file__).parents[1]
TEXTS, PATTERN = (".py", ".json", ".yaml"), re.compile(r"\[a-z0-9\]\[a-z0-9_-\]\{[0-9,]+\}")
BUILDERS = [
    function for name, function in inspect.getmembers(keys, inspect.isfunction) if name.endswith(("_due", "_stream"))
]


def built() -> dict[str, str]:
    """A key by the name of each function that builds one, all of the same words."""
    found = {}
    for function in BUILDERS:
        parameters = inspect.signature(function).parameters
        if function is not keys.is_commit_stream:
            words = [date(2026, 7, 1) if name == "day" else "x" for name in parameters]
            found[function.__name__] = function(*words)
    return found


def test_keys_of_two_kinds_are_never_equal() -> None:
    kinds = [key.split("/")[0] for key in built().values()]
    assert len(kinds) > 10
    assert sorted(set(kinds)) == sorted(kinds)


def test_the_stream_of_a_commit_is_known_by_its_key() -> None:
    assert [name for name, key in built().items() if keys.is_commit_stream(key)] == ["commit_stream"]


def test_the_table_names_every_kind_of_key() -> None:
    assert keys.__doc__ is not None
    assert [key for key in built().values() if f"{key.split('/')[0]}/" not in keys.__doc__] == []


def test_no_key_is_built_anywhere_else() -> None:
    """An f-string that begins with the first word of a key, in any other file."""
    kinds = tuple(f"{key.split('/')[0]}/" for key in built().values())
    found = []
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            first = node.values[0] if isinstance(node, ast.JoinedStr) and len(node.values) > 1 else None
            text = first.value if isinstance(first, ast.Constant) else ""
            if file != Path(keys.__file__) and str(text).startswith(kinds):
                found.append(f"{file.relative_to(SOURCES)}:{node.lineno}")
    assert found == []


def test_how_a_name_is_written_stands_once() -> None:
    """In code; the schemas, which are data, repeat it, and say the same."""
    written = {path.relative_to(SOURCES): path.read_text() for path in SOURCES.rglob("*.*") if path.suffix in TEXTS}
    patterns = {path: set(PATTERN.findall(text)) for path, text in written.items() if PATTERN.search(text)}
    assert patterns.pop(Path("model/keys.py")) == {keys.NAME}
    assert {path.suffix for path in patterns} == {".json", ".yaml"}
    assert set().union(*patterns.values()) == {keys.NAME}
