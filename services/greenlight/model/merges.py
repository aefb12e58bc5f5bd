"""The merges of pull requests, as a commit's record has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Merge:
    """The merge of a pull request."""

    head: str | None  # its last commit
    by: str | None  # identity of who merged it
    author: str | None = None  # identity of who opened it; rows of before name none
