"""What is read of the commits of a push: who made them, whether all are listed, and which files they touch."""

from __future__ import annotations

from typing import Any

import pytest

from greenlight.events.ids import identity
from greenlight.webhooks.providers import commits
from support.flow import push_payload, sha_of

LOGIN, ADDRESS = identity("github", "max-gh"), identity("email", "max@acme.example")


def said(message: str, **more: Any) -> dict[str, Any]:
    """A push by somebody else of one commit with that message."""
    payload = push_payload("one")
    payload["commits"] = [{**payload["commits"][0], "message": message}]
    return {**payload, **more}


@pytest.mark.parametrize(
    "trailer",
    [
        "Co-authored-by: Max <max@acme.example>",
        "co-authored-by: Max <MAX@Acme.Example>",
        "Co-Authored-By: Max <max@acme.example>\r",
        "CO-AUTHORED-BY:Max<max@acme.example>",
        "  Co-authored-by : Max < max@acme.example >  ",
        "\tCo-authored-by: Lena <lena@acme.example>, Max <max@acme.example>",
        "* Co-authored-by: Max <max@acme.example>",
        "> Co-authored-by: Max <max@acme.example>",
        "Coauthored-by: Max <max@acme.example>",
        "Co authored by: Max <max@acme.example>",
        "Co_Authored_By: Max <max@acme.example>",
        "Co‑authored‑by: Max <max@acme.example>",
        "Co-author: Max <max@acme.example>",
        "Co-authored-by: max@acme.example",
        "Co-authored-by: Max\n  <max@acme.example>",
        "Fix it. Co-authored-by: Max <max@acme.example>",
        "Co-authored-by: Max <max@acme.example>\n\nmore text after it",
    ],
)
def test_a_co_author_is_found_however_the_trailer_is_written(trailer: str) -> None:
    """In any case, indented, with any line end, anywhere in the message, in a list of squashed commits."""
    for message in (f"Title (#12)\n\n{trailer}", f"Title\r\n\r\n* one\r\n\r\n{trailer}\r\n---------\r\n", trailer):
        assert ADDRESS in commits.people(said(message))


@pytest.mark.parametrize(
    "trailer",
    [
        "Co-authored-by: Max <12+max-gh@users.noreply.github.com>",
        "Co-authored-by: Max <max-gh@users.noreply.github.com>",
        "Co-authored-by: Max <12+MAX-GH@Users.NoReply.GitHub.com>",
        "Co-authored-by: Max <12+max-gh@users.noreply.github.acme.example>",
        "Co-authored-by: max-gh",
        "Co-authored-by: Max (@max-gh)",
        "Co-authored-by: @Max-GH",
    ],
)
def test_a_hidden_address_is_the_login_in_it(trailer: str) -> None:
    """And a login alone is one."""
    assert LOGIN in commits.people(said(f"x\n\n{trailer}"))


@pytest.mark.parametrize(
    "message", ["Thank max@acme.example for it", "Reviewed-by: Max <max@acme.example>", "recoauthoredby:"]
)
def test_whom_a_message_only_mentions_is_no_author(message: str) -> None:
    """Nor who signed off or reviewed."""
    assert commits.people(said(message)) == commits.people(push_payload("one"))


def test_the_trailer_of_every_listed_commit_and_of_the_head_counts() -> None:
    """GitHub names the head apart from the list."""
    payload = push_payload("one")
    payload["commits"] = [
        {**payload["commits"][0], "id": "0", "message": "x\n\nCo-authored-by: @max-gh"},
        *payload["commits"],
    ]
    payload["head_commit"] = {**payload["head_commit"], "message": "x\n\nCo-authored-by: Max <max@acme.example>"}
    assert {LOGIN, ADDRESS} <= set(commits.people(payload))


@pytest.mark.parametrize(
    ("who", "address"),
    [
        ("dependabot[bot]", "49699333+dependabot[bot]@users.noreply.github.com"),
        ("web-flow", "noreply@github.com"),
        ("Web-Flow", "NOREPLY@GitHub.com"),
    ],
)
def test_bots_and_the_providers_merge_account_are_nobody(who: str, address: str) -> None:
    """Whether they author, commit or push."""
    payload = push_payload("one")
    person = {"name": who, "email": address, "username": who}
    alone = {
        **payload["head_commit"],
        "author": person,
        "committer": person,
        "message": f"x\n\nCo-authored-by: {who} <{address}>",
    }
    payload |= {
        "commits": [alone],
        "head_commit": alone,
        "pusher": {"name": who, "email": address},
        "sender": {"login": who},
    }
    assert commits.people(payload) == ()
    assert commits.pushers(payload) == ()


def test_no_person_passes_for_a_bot() -> None:
    """Whose name, or an address of another host, has the word in it."""
    payload = push_payload("one")
    author = {"name": "max[bot]", "email": "max[bot]@acme.example", "username": "max-gh"}
    payload["commits"] = [{**payload["commits"][0], "author": author}]
    assert {LOGIN, identity("email", "max[bot]@acme.example")} <= set(commits.people(payload))


def test_who_pushed_is_known_apart_from_who_wrote() -> None:
    """By login and by address."""
    payload = push_payload("one", by="acme-lena")
    payload |= {"pusher": {"name": "max-gh", "email": "max@acme.example"}, "sender": {"login": "max-gh"}}
    assert set(commits.pushers(payload)) == {LOGIN, ADDRESS}
    assert set(commits.people(payload)) > {LOGIN, ADDRESS}


def test_commits_besides_the_head_are_known_by_their_ids() -> None:
    """Each once."""
    payload = push_payload("one")
    payload["commits"] = [{"id": "a"}, {"id": "b"}, {"id": "a"}, {}, *payload["commits"]]
    assert commits.others(payload, sha_of("one")) == ("a", "b")


def test_the_title_and_the_author_of_every_commit_are_read() -> None:
    """The first line, shortened; a commit without a sha, or without words, has none of it."""
    payload = push_payload("one")
    head = payload["head_commit"]
    author = {"name": "L" * 300, "email": "12+max-gh@users.noreply.github.com", "username": "max-gh"}
    payload["commits"] = [
        {"id": "a" * 40, "message": "\nRound up\r\n\nand down", "author": author},
        {"id": "b" * 40, "author": None},
        {"id": "x", "message": "no commit"},
        {**head, "message": "T" * 300},
    ]
    payload["head_commit"] = {**head, "message": "T" * 300}
    first, second, third = commits.titles(payload)
    assert (first.title, first.author, first.login, first.email) == ("Round up", "L" * 100, LOGIN, LOGIN)
    assert (second.title, second.author, second.login, second.email) == ("", "", None, None)
    assert (third.sha, third.title, third.author) == (sha_of("one"), "T" * 200, "acme-developer")


def many(count: int) -> list[dict[str, Any]]:
    """So many commits, the last of which is the head of the push `one`."""
    return [{"id": f"{number:040x}"} for number in range(count - 1)] + push_payload("one")["commits"]


ZEROS = "0" * 40


@pytest.mark.parametrize(
    ("more", "yes"),
    [
        ({}, False),
        ({"commits": many(2047)}, False),
        ({"commits": many(2048)}, True),
        ({"commits": many(3), "size": 3}, False),
        ({"commits": many(3), "size": 4}, True),
        ({"commits": many(3)[:-1]}, True),
        ({"commits": None}, True),
        ({"commits": ["x"]}, True),
        ({"commits": []}, True),
        ({"commits": [], "forced": True}, False),
        ({"commits": [], "before": ZEROS, "created": True}, False),
        ({"commits": [], "after": ZEROS, "deleted": True, "head_commit": None}, False),
        ({"commits": [], "ref": "refs/tags/v1"}, False),
        ({"after": "f" * 40, "ref": "refs/tags/v1"}, False),
    ],
)
def test_a_list_that_lacks_commits_is_known_as_cut(more: dict[str, Any], yes: bool) -> None:
    """GitHub lists 2048 at most, the head among them; a branch that went on has one at least."""
    payload = {**push_payload("one"), **more}
    assert commits.cut(payload) is yes
    if yes:
        assert commits.paths(payload) is None


def test_the_files_of_every_listed_commit_are_known() -> None:
    """Up to a thousand; of more, none."""
    payload = push_payload("one")
    payload["commits"] = [{"id": "a", "added": ["x"], "removed": ["y"], "modified": [5]}, *payload["commits"]]
    assert commits.paths(payload) == ("shop.py", "x", "y")
    payload["commits"][0]["added"] = [f"f{number}" for number in range(commits.MAX_PATHS)]
    assert commits.paths(payload) is None
