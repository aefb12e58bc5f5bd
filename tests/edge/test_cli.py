"""The command line against a served board and webhook port: output, exit codes, and what it says when it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from werkzeug.test import Client

from greenlight.cli.main import COMMANDS, main
from greenlight.ledger import names
from greenlight.ledger.port import Unreadable
from greenlight.ledger.sqlite.ledger import SqliteLedger
from greenlight.service.server import Server, serve
from support.flow import REPO, TOKENS, Shop, build_payload, push_payload, sha_of

ONE = sha_of("one")


class Terminal:
    """Runs commands as lena, against one running Shop."""

    def __init__(self, shop: Shop, board: Server, webhooks: Server) -> None:
        self.shop = shop
        self.env = {
            "GREENLIGHT_URL": "http://{}:{}".format(*board.address),
            "GREENLIGHT_WEBHOOKS_URL": "http://{}:{}".format(*webhooks.address),
            "GREENLIGHT_TOKEN": TOKENS["lena"],
            "GREENLIGHT_SECRETS": str(shop.folder / "secrets"),
        }

    def __call__(self, *words: str, **env: str) -> Result:
        return CliRunner().invoke(main, list(words), env={**self.env, **env})

    def json(self, *words: str) -> Any:
        result = self(*words, "--json")
        assert result.exit_code in (0, 1, 4), result.output
        return json.loads(result.stdout)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    shop = Shop(tmp_path).start()
    servers = [serve(shop.greenlight.apps[name], "127.0.0.1:0", name=name) for name in ("board", "webhooks")]
    for server in servers:
        server.start()
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", ONE)
    shop.settle()
    yield Terminal(shop, *servers)
    for server in servers:
        server.stop(5)
    shop.stop()


def _leaves(group: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(group, click.Group):
        yield words, group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from _leaves(command, (*words, name))


def test_status_warns_of_a_repository_that_is_called_otherwise(terminal: Terminal) -> None:
    """On standard error, so that a program that reads the table is not disturbed; the API has it for programs."""
    assert terminal("status").stderr == ""
    ledger, now = terminal.shop.greenlight.ledger, terminal.shop.greenlight.clock.now()
    names.rename(ledger, names.name_of(ledger, REPO), "acme/store", now)
    assert terminal("status").stderr == "acme/shop is called acme/store now: change `repo` in the pipeline file\n"
    client = Client(terminal.shop.greenlight.apps["board"])
    assert client.get("/api/v1/senders").get_json() == {
        "repositories": [
            {"repo": "acme/shop", "called": "acme/store", "silent_since": None, "found_by_asking": 0, "lost_pushes": []}
        ],
        "clocks_ahead": [],
    }


def test_every_command_has_help_with_an_example() -> None:
    """A line that can be typed."""
    leaves = dict(_leaves(main))
    assert {words[0] for words in leaves} == set(COMMANDS)
    for words in leaves:
        result = CliRunner().invoke(main, [*words, "--help"])
        assert result.exit_code == 0
        assert f"greenlight {' '.join(words)}" in result.output.split("Example")[1], words


def test_status_why_trace_and_journal_say_what_is_known(terminal: Terminal) -> None:
    """Plain lines when piped, documents with --json, and the exit code of the answer."""
    assert f"{ONE[:7]}\tacme/shop\tshop/staging\tsucceeded" in terminal("status").stdout
    assert terminal.json("status", REPO, ONE[:8])["sha"] == ONE
    why = terminal("why", REPO, ONE[:8])
    assert why.exit_code == 4
    assert "needs 1 more approval from legal" in why.stdout
    assert terminal("why", REPO, ONE[:8], "shop", "staging").exit_code == 0
    assert terminal("why", REPO, ONE[:8], "shop", "nowhere").exit_code == 1
    assert "deploy shop/staging" in terminal("trace", REPO, ONE[:8]).stdout
    assert terminal.json("trace", REPO, ONE)["spans"][0]["parent_id"] is None
    journal = terminal("journal", REPO, ONE[:8], "--verify")
    assert journal.exit_code == 0
    assert "the chain verifies" in journal.stderr


def test_why_names_red_commits_that_go_out_with_the_one_that_is_asked_about(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the gate and its reason, as the API has them; what cannot be read is named, too, and nothing else fails for it."""
    shop, two = terminal.shop, sha_of("two")
    assert "brings" not in terminal("why", REPO, ONE).stdout, "it goes out alone"
    shop.scan("one", "failed")
    shop.push("two", before="one")
    shop.build("two")
    shop.watch.end("staging", two)
    shop.settle()
    said = terminal("why", REPO, two, "shop", "production").stdout
    assert f"    brings 2 commits\n      failed scan of {ONE[:7]} one: webhook scan failed\n" in said
    brings = {
        name: it["brings"]
        for name, it in terminal.json("why", REPO, two)["applications"]["shop"]["environments"].items()
    }
    assert brings["staging"] == {"commits": [], "more": 0}, "it runs there"
    first, second = brings["production"]["commits"]
    assert (first, brings["production"]["more"]) == (
        {"sha": two, "title": "two", "author": "acme-developer", "red": {}},
        0,
    )
    assert (second["sha"], [(name, it["state"]) for name, it in second["red"].items()]) == (ONE, [("scan", "failed")])
    asked = terminal("deploy", REPO, ONE, "shop", "production", "--reason", "x")
    assert (asked.exit_code, "    failed  scan: webhook scan failed\n" in asked.stdout) == (0, True)
    read = SqliteLedger.record

    def spoilt(self: SqliteLedger, repo: str, sha: str) -> Any:
        if sha == ONE:
            raise Unreadable(f"the record of {sha[:7]} is spoilt")
        return read(self, repo, sha)

    monkeypatch.setattr(SqliteLedger, "record", spoilt)
    assert f"unknown {ONE[:7]} one: the record of {ONE[:7]} is spoilt" in terminal("why", REPO, two).stdout
    page = Client(shop.greenlight.apps["board"]).get(f"/commits/{REPO}/{two}").get_data(as_text=True)
    assert "its record cannot be read" in page


def test_a_changed_journal_does_not_verify(terminal: Terminal) -> None:
    """Exit 1 and the entry, by this side's own arithmetic."""
    terminal.shop.greenlight.store.write(
        lambda tx: tx.execute(
            "UPDATE entries SET payload = replace(payload, 'passed', 'failed') WHERE stream LIKE 'commit/%'"
        )
    )
    result = terminal("journal", REPO, ONE, "--verify")
    assert result.exit_code == 1
    assert "breaks at entry" in result.stderr


def test_a_journal_that_was_kept_verifies_without_a_server(terminal: Terminal, tmp_path: Path) -> None:
    """Exit 0 with its head, 1 where something was changed, 2 for what is no journal."""
    kept, printed = tmp_path / "kept.json", terminal("journal", REPO, ONE, "--json").stdout
    env = {"GREENLIGHT_URL": "http://127.0.0.1:1"}
    for text, code, said in (
        (printed, 0, json.loads(printed)["entries"][-1]["hash"]),
        (printed.replace("circleci", "cicleci"), 1, "the chain breaks at entry"),
        *(
            (text, 2, "is no journal")
            for text in ("", "[]", "{}", '{"entries": []}', '{"entries": [{"seq": 1}]}', "\xff")
        ),
    ):
        kept.write_text(text)
        result = terminal("verify", str(kept), **env)
        assert (result.exit_code, said in result.output) == (code, True), result.output


def test_people_act_and_each_act_says_what_came_of_it(terminal: Terminal) -> None:
    """approve to rollback, through to the target."""
    shop = terminal.shop
    assert terminal("send", "gate", "scan", "passed", REPO, ONE).exit_code == 0
    assert terminal("approve", REPO, ONE[:8], "shop", "legal", "--comment", "fine").exit_code == 0
    assert shop.watch.end("production", ONE)["outcome"] == "succeeded"
    assert terminal("revoke", REPO, ONE[:8], "shop", "legal", "--reason", "oops").exit_code == 0
    assert terminal("pause", "shop", "staging", "--reason", "sale").exit_code == 0
    assert terminal("resume", "shop", "staging").exit_code == 0
    assert terminal("freeze", "shop", "staging", "--for", "2h", "--reason", "sale").exit_code == 0
    assert terminal("unfreeze", "shop", "staging", "--reason", "sold out").exit_code == 0
    shop.push("two", before="one")
    shop.build("two")
    shop.watch.end("staging", sha_of("two"))
    shop.settle()
    assert terminal.json("rollback", "shop", "staging", "--reason", "slow")["sha"] == ONE
    assert shop.watch.end("staging", ONE, n=1)["cause"] == "rollback"
    assert f"by lena's rollback to {ONE[:7]}" in terminal("targets", "shop", "staging").output
    shop.settle()
    assert terminal("deploy", REPO, sha_of("two")[:8], "shop", "staging", "--reason", "mended").exit_code == 0
    assert shop.watch.end("staging", sha_of("two"), n=1)["cause"] == "deploy"
    shop.settle()
    refused = terminal("retry", REPO, sha_of("two")[:8], "shop", "staging", "--reason", "x")
    assert (refused.exit_code, "nothing to retry" in refused.stderr) == (1, True)


def test_exit_codes_tell_no_from_unknown_and_from_misuse(terminal: Terminal, tmp_path: Path) -> None:
    """1 the world says no, 2 misuse or nobody known, 3 it could not be found out."""
    assert terminal("status", REPO, "0" * 40).exit_code == 1
    assert terminal("approve", REPO, ONE, "shop", "legal", GREENLIGHT_TOKEN="gl_wrong").exit_code == 2
    assert terminal("approve", REPO).exit_code == 2
    assert terminal("rollback", "shop", "staging").exit_code == 2
    nobody = terminal("status", GREENLIGHT_URL="http://127.0.0.1:1")
    assert (nobody.exit_code, "greenlight up" in nobody.stderr) == (3, True)
    payload = tmp_path / "push.json"
    payload.write_text(json.dumps(push_payload("three")))
    sent = ("send", "github", "push", str(payload))
    assert terminal(*sent, GREENLIGHT_WEBHOOKS_URL="http://127.0.0.1:1").exit_code == 3
    assert terminal(*sent, GREENLIGHT_SECRETS=str(tmp_path / "none")).exit_code == 2
    (tmp_path / "wrong").write_text("another secret\n")
    assert terminal(*sent, "--secret-file", str(tmp_path / "wrong")).exit_code == 1


def test_send_signs_as_each_provider_does(terminal: Terminal, tmp_path: Path) -> None:
    """Accepted, with the fact's id; the same id again."""
    secrets = terminal.shop.folder / "secrets"
    (secrets / "events-lab").write_text((secrets / "gate-scan").read_text())
    files = {
        "github": ("send", "github", "push", push_payload("three", before="one")),
        "circleci": ("send", "circleci", build_payload("three")),
        "event": (
            "send",
            "event",
            {
                "specversion": "1.0",
                "id": "1",
                "source": "/lab",
                "type": "com.example.lab",
                "data": {"repo": REPO, "sha": ONE},
            },
        ),
    }
    assert not terminal.shop.greenlight.secrets.is_unreadable()  # which has it look at once
    for name, (*words, payload) in files.items():
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(payload))
        more = ["--sender", "lab"] if name == "event" else []
        ids = {terminal.json(*words, str(file), *more)["id"] for _ in range(2 if name != "event" else 1)}
        assert len(ids) == 1, name


def test_people_and_policy_work_on_the_files(terminal: Terminal) -> None:
    """A token is printed once and works; a wrong file is named with its line."""
    config = terminal.shop.folder / "config"
    token = terminal("people", "token", "omar", "--config", str(config)).stdout.strip()
    assert terminal("approve", REPO, ONE, "shop", "legal", GREENLIGHT_TOKEN=token).exit_code == 0
    assert token not in (config / "people.yaml").read_text()
    assert terminal("people", "token", "nobody", "--config", str(config)).exit_code == 2
    assert "omar\tomar\tlegal\t2" in terminal("people", "list", "--config", str(config)).stdout
    assert terminal.json("policy", "check", "--config", str(config))["applications"]["shop"].startswith("sha256:")
    assert "shop is made from acme/shop" in terminal("policy", "explain", "shop", "--config", str(config)).stdout
    assert json.loads(terminal("policy", "schema").stdout)["$schema"]
    pipeline = config / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("require: [build]", "require: [biuld]"))
    wrong = terminal("policy", "check", "--config", str(config))
    assert wrong.exit_code == 1
    assert "pipeline.yaml:" in wrong.stderr
    assert "biuld" in wrong.stderr
    assert terminal("policy", "check", "--config", str(config / "none")).exit_code == 2
    pipeline.unlink()
    assert terminal("policy", "check", "--config", str(config)).exit_code == 2
    (config / "people.yaml").unlink()
    assert "there is no person yet" in terminal("people", "list", "--config", str(config)).stderr


def test_people_who_cannot_be_told_from_an_author_are_listed(terminal: Terminal) -> None:
    """In words, and in a field."""
    path = terminal.shop.folder / "config" / "people.yaml"
    path.write_text(path.read_text().replace("github: omar-gh, ", ""))
    listed = terminal("people", "list", "--config", str(path.parent))
    assert "omar cannot be recognized as an author" in listed.stderr
    assert "lena" not in listed.stderr
    rows = terminal.json("people", "list", "--config", str(path.parent))["people"]
    assert {row["id"]: row["identified"] for row in rows} == {"lena": True, "omar": False, "dev": True}


def test_an_author_is_erased_by_who_may(terminal: Terminal) -> None:
    """It takes a name, and an operator."""
    assert terminal("people", "erase").exit_code == 2
    pipeline = terminal.shop.folder / "config" / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("operators: [legal, engineering]", "operators: [legal]"))
    terminal.shop.greenlight.pipeline.look()
    refused = terminal("people", "erase", "--github", "acme-developer", GREENLIGHT_TOKEN=TOKENS["dev"])
    assert refused.exit_code == 1
    assert "operates no application" in refused.stderr


def test_policy_check_warns_of_secrets(terminal: Terminal) -> None:
    """Of one that stands in the file, and of one that is named and not here, which only the deployer needs."""
    config = terminal.shop.folder / "config"
    pipeline = config / "pipeline.yaml"
    assert terminal.json("policy", "check", "--config", str(config))["warnings"] == []
    run = "command: {run: [sh, deploy.sh]"
    assert run in pipeline.read_text()
    pipeline.write_text(pipeline.read_text().replace(run, f"{run}, env: {{PGPASS: abc, B: {{file: not/there}}}}"))
    told = terminal("policy", "check", "--config", str(config))
    assert told.exit_code == 0
    assert "PGPASS: seems to hold a secret" in told.stderr
    assert "env.B: " in told.stderr
    assert "not/there is not there" in told.stderr
    assert len(terminal.json("policy", "check", "--config", str(config))["warnings"]) >= 2


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (("status", "acme"), {}, "'acme' is not OWNER/NAME"),
        (("status", "../shop"), {}, "is not OWNER/NAME"),
        (("why", "https://github.com/acme/shop", ONE), {}, "is not OWNER/NAME"),
        (("why", REPO, ONE[:6]), {}, "at least its first 7 digits"),
        (("trace", REPO, "main-branch"), {}, "is not a sha"),
        (("pause", "sh/op", "staging", "--reason", "x"), {}, "is not a name"),
        (("freeze", "shop", "staging", "--reason", "x"), {}, "--until TIME or --for DURATION"),
        (("freeze", "shop", "staging", "--until", "tomorrow", "--reason", "x"), {}, "is not a time with its offset"),
        (("rollback", "shop", "staging", "--to", "HEAD", "--reason", "x"), {}, "is not a sha"),
        (("send", "gate", "../scan", "passed", REPO, ONE), {}, "is not a name"),
        (("status",), {"GREENLIGHT_TOKEN": "a\nb"}, "GREENLIGHT_TOKEN has characters that no token has"),
        (("status",), {"GREENLIGHT_TOKEN": "gl_€"}, "GREENLIGHT_TOKEN has characters that no token has"),
        (("status",), {"GREENLIGHT_TOKEN": "gl_wrong"}, "The command line sends the token in GREENLIGHT_TOKEN"),
        (("status",), {"GREENLIGHT_URL": "localhost:8080"}, "it must be http(s)://HOST:PORT"),
        (("status",), {"GREENLIGHT_URL": "ftp://x"}, "it must be http(s)://HOST:PORT"),
    ],
)
def test_a_slip_of_the_pen_is_misuse_and_says_what_would_be_right(
    terminal: Terminal, words: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    """Exit 2, never a traceback, never the world's no."""
    result = terminal(*words, **env)
    assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_a_sha_may_be_written_in_capitals_and_be_short_for_a_gate_too(terminal: Terminal) -> None:
    """The board knows the whole of it."""
    assert terminal.json("why", REPO, ONE.upper())["sha"] == ONE
    assert terminal("send", "gate", "scan", "passed", REPO, ONE[:7]).exit_code == 0
    assert terminal("send", "gate", "scan", "passed", REPO, "0" * 7).exit_code == 1


def test_the_journal_says_who_and_why(terminal: Terminal) -> None:
    """What people did is more than its type."""
    terminal("approve", REPO, ONE, "shop", "legal", "--comment", "licences are fine")
    terminal("revoke", REPO, ONE, "shop", "legal", "--reason", "one is missing")
    terminal("deploy", REPO, ONE, "shop", "staging", "--reason", "compare")
    terminal.shop.settle()
    said = terminal("journal", REPO, ONE).stdout
    assert "shop legal by lena: licences are fine" in said
    assert "shop legal by lena: one is missing" in said
    assert "shop staging deploy by lena: compare" in said


def test_a_commit_that_no_application_ships_is_shown_as_that(terminal: Terminal) -> None:
    """It is known, and says why nothing happens to it."""
    pipeline = terminal.shop.folder / "config" / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("repo: acme/shop", "repo: acme/other"))
    terminal.shop.greenlight.pipeline.look()
    nobodys = "no application of the pipeline file is made from this repository"
    assert f"{ONE[:7]}\tacme/shop\t-\t{nobodys}" in terminal("status").stdout
    why = terminal("why", REPO, ONE)
    assert (why.exit_code, nobodys in why.stdout) == (1, True)


def test_a_long_list_says_that_there_is_more(terminal: Terminal) -> None:
    """Nothing is left out in silence."""
    for n in range(50):
        terminal.shop.push(f"c{n}", before="one")
    terminal.shop.settle()
    assert "these are the newest 50 commits; --limit N or --limit all shows more" in terminal("status").stderr
    every = terminal("status", "--limit", "all")
    assert (len({line.split("\t")[0] for line in every.stdout.splitlines()}), every.stderr) == (51, "")
    shas = [it["sha"] for it in terminal.json("status", "--limit", "all")["commits"]]
    assert [it["sha"] for it in terminal.json("status", "--limit", "7")["commits"]] == shas[:7]
    for state in (
        "waiting",
        "succeeded",
    ):  # of which the API looks for the first in pages, and the second is the oldest
        chosen = [it["sha"] for it in terminal.json("status", "--state", state, "--limit", "all")["commits"]]
        first = terminal.json("status", "--state", state, "--limit", "1")
        assert [it["sha"] for it in first["commits"]] == chosen[:1]
        rest = (
            terminal.shop.api("GET", f"/commits?limit=200&cursor={first['next']}").json["commits"]
            if first["next"]
            else []
        )
        assert [it["sha"] for it in rest] == shas[shas.index(chosen[0]) + 1 :], "nothing is left out between the two"
    assert terminal("status", "--state", "failed").stderr == "no such commit is known\n"
    assert terminal("status", REPO, ONE, "--limit", "3").exit_code == 2
