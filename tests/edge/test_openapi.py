"""The description of the API: each route, parameter and response is as the code has it, and the commands use nothing else."""

from __future__ import annotations

import ast
import html
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from flask import Flask, Request
from jsonschema import Draft202012Validator
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.test import Client

from greenlight.board import openapi
from greenlight.board.app import discards
from greenlight.board.login.config import LoginConfig
from greenlight.broker.api import blueprint as broker_api
from greenlight.cli.main import main
from greenlight.lib.clock import SystemClock
from support.api import dead_letters, filled, resolved, validator
from support.board import board_of
from support.flow import TOKENS, Shop

CLI = Path(__file__).parents[2] / "services" / "greenlight" / "cli"
OPERATIONS = [
    (method, path, operation)
    for path, item in openapi.document()["paths"].items()
    for method, operation in item.items()
]
READS = [(path, operation) for method, path, operation in OPERATIONS if method == "get"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = filled(tmp_path_factory.mktemp("shop"))
    yield shop
    shop.stop()


@pytest.fixture(scope="module")
def app(shop: Shop) -> Flask:
    it = shop.greenlight
    operators = broker_api(it.broker.operations, lambda: discards(it.pipeline()))
    return board_of(shop, SystemClock(), LoginConfig(), loopback=True, guests=[operators])


def _routes(app: Flask) -> Mapping[tuple[str, str], Mapping[str, str]]:
    """Every route of the API, as a method and a path of OpenAPI: the type of each of its names."""
    return {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)): {
            name: "integer" if converter == "int" else "string"
            for converter, name in re.findall(r"<(?:(\w+):)?(\w+)>", rule.rule)
        }
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def _parameters(operation: Mapping[str, Any], place: str) -> dict[str, Any]:
    found = [resolved(it) for it in operation.get("parameters", [])]
    return {it["name"]: it for it in found if it["in"] == place}


def test_every_route_is_described_with_the_names_in_its_path(app: Flask) -> None:
    """And nothing is described that is not there."""
    routes = _routes(app)
    assert {(method, path) for method, path, _ in OPERATIONS} == set(routes)
    for method, path, operation in OPERATIONS:
        described = {name: it["schema"]["type"] for name, it in _parameters(operation, "path").items()}
        assert described == routes[method, path], path


class _Seen(ImmutableMultiDict[str, str]):
    """A query that remembers for which names it was asked."""

    asked: set[str]

    def get(self, key: str, *arguments: Any, **more: Any) -> Any:
        self.asked.add(key)
        return super().get(key, *arguments, **more)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)


@pytest.mark.parametrize(("path", "operation"), READS, ids=[path for path, _ in READS])
def test_every_parameter_that_a_route_reads_is_described(
    app: Flask, shop: Shop, path: str, operation: Mapping[str, Any]
) -> None:
    """By its name in the query. None that it does not read is described."""
    asked: set[str] = set()

    class Storage(_Seen):
        pass

    class Recorded(Request):
        parameter_storage_class = Storage

    Storage.asked = asked
    before, app.request_class = app.request_class, Recorded
    try:
        assert Client(app).get(_real(path, shop), headers=_token()).status_code == 200
    finally:
        app.request_class = before
    assert asked == set(_parameters(operation, "query"))


@pytest.mark.parametrize(("path", "operation"), READS, ids=[path for path, _ in READS])
def test_what_a_read_answers_has_the_members_that_are_described(
    app: Flask, shop: Shop, path: str, operation: Mapping[str, Any]
) -> None:
    """Each of them, and no other."""
    answer = Client(app).get(_real(path, shop), headers=_token())
    (content,) = resolved(operation["responses"]["200"])["content"].values()
    problems = validator(content["schema"]).iter_errors(json.loads(answer.get_data()))
    assert [f"{it.json_path}: {it.message[:200]}" for it in problems] == []


WRITES = [path for method, path, _ in OPERATIONS if method == "post"]
BAD_BODIES = {
    "nothing that is JSON": b"{",
    "no object": b"[]",
    "null": b"null",
    "not UTF-8": b'{"reason": "\xff"}',
    "half of a surrogate pair": b'{"reason": "\\ud800", "where": {"trigger": "\\ud800"}}',
    "a name twice": b'{"reason": "x", "reason": "y"}',
    "not a number": b'{"reason": NaN}',
    "too deep": b'{"reason": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a number without end": b'{"reason": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_is_no_json_object_is_refused(app: Flask, shop: Shop, path: str, body: bytes) -> None:
    """And one that is sent as something else, as pages of other sites can."""
    for kind in ("application/json", "text/plain"):
        answer = Client(app).post(_real(path, shop), data=body, content_type=kind, headers=_token())
        assert (answer.status_code, answer.mimetype) == (400, "application/problem+json"), answer.get_data(as_text=True)


@pytest.mark.parametrize("odd", ["%00", "%ED%A0%80", "%FF", "9" * 40, "%F0%9F%92%A9", "..%5C..", "a" * 3000])
@pytest.mark.parametrize(("path", "operation"), READS, ids=[path for path, _ in READS])
def test_odd_names_and_values_are_no_error_of_the_board(
    app: Flask, shop: Shop, path: str, operation: Mapping[str, Any], odd: str
) -> None:
    """In each place of the path, and in each parameter."""
    names = [*_parameters(operation, "path")]
    asked = [_real(path.replace(f"{{{name}}}", odd), shop) for name in names]
    asked += [f"{_real(path, shop).partition('?')[0]}?id=e1&{name}={odd}" for name in _parameters(operation, "query")]
    for address in asked:
        answer = Client(app).get(address, headers=_token())
        assert answer.status_code in (200, 404, 422), address


def _token() -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS['lena']}"}


def _real(path: str, shop: Shop) -> str:
    """Return a path with names that exist, and the query that it cannot be asked without."""
    names = {it["name"]: it["example"] for it in map(resolved, openapi.document()["components"]["parameters"].values())}
    names["id"] = str(dead_letters(shop)[0]) if "dead-letters" in path else "d1"
    return re.sub(r"\{(\w+)\}", lambda found: names[found[1]], path) + ("?id=e1" if path.endswith("/events") else "")


def test_each_example_fits_its_schema() -> None:
    """Of requests, of responses and of parameters."""
    document = openapi.document()
    found = 0
    for method, path, operation in OPERATIONS:
        bodies = [operation.get("requestBody", {}), *map(resolved, operation["responses"].values())]
        for content in (content for body in bodies for content in body.get("content", {}).values()):
            if "example" in content:
                found += 1
                problems = validator(content["schema"]).iter_errors(content["example"])
                assert [it.message for it in problems] == [], (method, path)
    parameters = [*document["components"]["parameters"].values()]
    parameters += [it for _, _, operation in OPERATIONS for it in operation.get("parameters", [])]
    for it in (it for it in map(resolved, parameters) if "example" in it):
        assert [*validator(it["schema"]).iter_errors(it["example"])] == [], it["name"]
    assert found > 40


def test_every_schema_is_one_and_every_one_of_them_is_used() -> None:
    """By JSON Schema's own rules."""
    text = openapi.text()
    for name, schema in openapi.document()["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert f'"#/components/schemas/{name}"' in text, name


def test_it_is_served_as_it_is_written(app: Flask) -> None:
    """To whoever may read."""
    answer = Client(app).get("/api/v1/openapi.json")
    assert (answer.mimetype, answer.json) == ("application/json", openapi.document())


@pytest.mark.parametrize("command", sorted({it["x-cli"] for *_, it in OPERATIONS if "x-cli" in it}))
def test_the_command_that_is_named_exists(command: str) -> None:
    """By its full name."""
    program, *words = command.split()
    found: Any = main
    for word in words:
        found = found.get_command(click.Context(found), word)
        assert found is not None, command
    assert program == "greenlight"


def test_the_page_shows_every_route_with_a_command_that_works(app: Flask, shop: Shop) -> None:
    """As it stands there: with the names of the examples, of which a deployment and a test are made up."""
    text = Client(app).get("/api", headers={"Accept": "text/html"}).get_data(as_text=True)
    shown = re.findall(r'<pre class="log curl".*?>(.*?)</pre>', text, re.DOTALL)
    assert len(shown) == len(OPERATIONS)
    for (method, path, operation), command in zip(OPERATIONS, shown, strict=True):
        assert path in text
        assert operation["summary"] in html.unescape(text)
        *options, address = shlex.split(html.unescape(command))[1:]
        headers = dict(zip(options[::2], options[1::2], strict=True))
        assert headers["-H"] in ("Authorization: Bearer $GREENLIGHT_TOKEN", "Content-Type: application/json")
        answer = Client(app).open(
            address.removeprefix("$GREENLIGHT_URL"),
            method="POST" if "-d" in headers else "GET",
            data=headers.get("-d"),
            content_type="application/json" if "-d" in headers else None,
            headers=_token(),
        )
        assert method == answer.request.environ["REQUEST_METHOD"].lower()
        assert answer.status_code in (200, 202, 403, 404, 422), (command, answer.get_data(as_text=True))


def test_the_links_of_the_page_lead_somewhere(app: Flask) -> None:
    """To schemas on it, and nothing is in it twice."""
    text = Client(app).get("/api", headers={"Accept": "text/html"}).get_data(as_text=True)
    names = re.findall(r' id="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= {*names, "main"}
    assert {it["operationId"] for *_, it in OPERATIONS} <= set(names)


# The command line uses the API, and nothing else of a running Greenlight.

SPEAKERS = {"client.py", "commands/send.py"}
"""The files that may speak HTTP: the client of the API; the one that sends webhooks, as other programs do."""

ELSEWHERE = {"/readyz"}
"""The addresses outside the API that the client asks for."""


def _sources(folder: Path = CLI) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(folder.rglob("*.py")):
        yield str(file.relative_to(folder)), ast.parse(file.read_text())


def test_only_the_client_speaks_http() -> None:
    """By any module that can."""
    speaking = {"urllib3", "urllib", "requests", "http", "httpx", "socket", "flask", "werkzeug"}
    found = set()
    for name, tree in _sources():
        imported = {it.name for node in ast.walk(tree) if isinstance(node, ast.Import) for it in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        if {it.partition(".")[0] for it in imported - {"urllib.parse"}} & speaking:
            found.add(name)
    assert found == SPEAKERS


def test_the_client_asks_for_paths_of_the_api_alone() -> None:
    """`_ask` is the one place that sends, and its two callers say the whole address."""
    (tree,) = [tree for name, tree in _sources() if name == "client.py"]
    sent = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".request")
    ]
    assert [ast.unparse(node.args[1]) for node in sent] == ["f'{self.url}{path}'"]
    asked = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._ask"]
    assert {ast.unparse(node.args[1]) for node in asked} == {"f'/api/v1{path}'", *map(repr, ELSEWHERE)}


def _asked() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call of the client by a command, doctor's included: where, the path with a `{}` for each value, and the call."""
    doctor = [it for it in _sources(CLI.parent / "entrypoints" / "doctor") if it[0] == "machine.py"]
    for name, tree in (*_sources(), *doctor):
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("get", "post")
            ):
                path = _pattern(node.args[0]) if node.args else ""
                if "/" in path and name != "client.py":
                    yield f"{name}:{node.lineno}", path, node


def _pattern(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join("{}" if isinstance(it, ast.FormattedValue) else _pattern(it) for it in node.values)
    return ""


def test_what_the_commands_ask_for_is_described() -> None:
    """The path, the method and the names in the query. A `{}` at the beginning stands for the path of a commit or target."""
    calls = list(_asked())
    assert len(calls) > 25
    for where, path, call in calls:
        assert isinstance(call.func, ast.Attribute)
        wanted = re.compile(
            "(/api/v1)" + "".join(".+" if it == "{}" else re.escape(it) for it in re.split(r"(\{\})", path))
        )
        matching = [
            operation for method, route, operation in OPERATIONS
            if method == call.func.attr and wanted.fullmatch(re.sub(r"\{\w+\}", "x", route))
        ]  # fmt: skip
        assert matching, f"{where} asks for {path}"
        if call.func.attr == "get":
            known = set().union(*(_parameters(it, "query") for it in matching))
            assert {it.arg for it in call.keywords if it.arg is not None} <= known, where
