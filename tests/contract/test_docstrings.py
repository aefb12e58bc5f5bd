"""Docstrings of Greenlight begin in one way, so that everybody reads them once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "services/greenlight"

VERBS = """
    Accept Add Answer Append Apply Approve Ask Become Begin Bind Bound Build Call Cast Change Check Close Collect
    Commit Compare Compile Compute Continue Copy Count Create Cut Decide Decode Delete Deliver Deploy Describe
    Discard Distinguish Divide Do Drop Emit End Erase Escape Exclude Explain Export Find Finish Fold Follow Freeze
    Give Go Hand Handle Have Hold Indent Instrument Invoke Join Judge Keep Leave Let List Load Lock Log Look Make
    Manage Mark Measure Merge Move Name Note Open Parse Pass Pause Plan Play Poll Post Postpone Print Publish Put
    Queue Raise Read Receive Refuse Reject Release Remember Remove Renew Repair Replace Replay Report Request
    Resolve Resume Return Revoke Roll Run Send Serve Set Settle Share Ship Show Sign Sleep Sort Start Stop Store
    Take Tick Unlock Use Wait Wake Warn Withdraw Write Yield
"""
"""The verbs that the docstring of a function or method may begin with."""

RIDDLES = """
    Anything Enough Everything From How It Nobody Nothing Something That There These This Those What Whatever When
    Where Whether Which Who Whoever Whom Whose Why
"""
"""Words that no docstring of a class or file begins with: the noun that it is about would come too late."""


def _docstrings() -> Iterator[tuple[ast.AST, str, str]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node)
                if text is not None:
                    where = f"{file.relative_to(PACKAGE)}:{getattr(node, 'name', 'the file')}"
                    yield node, where, text


def _first(text: str) -> str:
    return text.split()[0].rstrip(".,:;")


def test_the_docstring_of_a_function_begins_with_a_verb() -> None:
    """A new verb is added to VERBS, which is sorted: an imperative, and one that most readers know."""
    verbs = VERBS.split()
    assert verbs == sorted(set(verbs))
    functions = [(where, text) for node, where, text in _docstrings() if isinstance(node, ast.FunctionDef)]
    assert [f"{where}: {text}" for where, text in functions if _first(text) not in verbs] == []


def test_the_docstring_of_a_class_or_file_begins_with_a_noun_or_a_verb() -> None:
    """With no pronoun, and no word of a question."""
    riddles = RIDDLES.split()
    others = [(where, text) for node, where, text in _docstrings() if not isinstance(node, ast.FunctionDef)]
    assert [f"{where}: {text}" for where, text in others if _first(text) in riddles] == []


def test_a_function_that_yields_says_so() -> None:
    """Return stands for one value, Yield for an iterator, `Return whether` for a bool."""
    wrong = []
    for node, where, text in _docstrings():
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            given = ast.unparse(node.returns)
            if _first(text) == "Return" and given.startswith("Iterator"):
                wrong.append(f"{where} -> {given}: {text}")
            if text.startswith("Return whether ") and given not in ("bool", "tuple[bool, Any]"):
                wrong.append(f"{where} -> {given}: {text}")
    assert wrong == []
