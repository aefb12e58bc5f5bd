"""Edits of named functions: they find their function wherever it lives, and fail if there is nothing left to edit."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class DoesNotApply(Exception):
    """The function, or the text in it, is not there any more, or there twice."""


@dataclass(frozen=True)
class Defect:
    """A deliberate defect: in `function` ("name" or "Class.name"), `old` becomes `new`.

    `old` may be broken into lines in any way. `caught_by` is `stories`, or the test that must fail.
    """

    name: str
    function: str
    old: str
    new: str
    caught_by: str = "stories"


def apply(defect: Defect, services: Path) -> Path:
    """Put the defect into the copy of the code below `services`; the file that was changed. Raises DoesNotApply."""
    pattern = re.compile(r"\s+".join(re.escape(word) for word in defect.old.split()))
    found = []
    for file in sorted(services.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        for start, end in _spans(text, defect.function):
            found += [(file, text, start + it.start(), start + it.end()) for it in pattern.finditer(text[start:end])]
    if len(found) != 1:
        raise DoesNotApply(f"{defect.name}: {defect.old!r} is there {len(found)} times in functions {defect.function}")
    file, text, start, end = found[0]
    edited = text[:start] + defect.new + text[end:]
    try:
        ast.parse(edited)
    except SyntaxError as problem:
        raise DoesNotApply(f"{defect.name}: what comes of it is no Python: {problem}") from problem
    file.write_text(edited, encoding="utf-8")
    return file


def _spans(text: str, name: str) -> Iterator[tuple[int, int]]:
    """Where the functions of that name begin and end in a file, in characters."""
    if name.rpartition(".")[2] not in text:
        return
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    for path, node in _functions(ast.parse(text), ""):
        if path == name:
            yield lines[node.lineno - 1], lines[node.end_lineno or node.lineno]


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{node.name}.")
