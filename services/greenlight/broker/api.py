"""The broker's HTTP API for operators, as a blueprint: its Triggers, what happened to an event, dead letters.

The app that registers it decides who may use it: `greenlight up`, people; `greenlight broker`, programs of this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, jsonify, request

from greenlight.broker.log.dead_letters import FILTERS
from greenlight.broker.operations import Discards, Operations, anonymous
from greenlight.lib.bodies import LONGEST_TEXT, json_object
from greenlight.lib.errors import Malformed, Rejected
from greenlight.lib.paging import limit_of, number_of
from greenlight.lib.problems import problem_response

MAX_PAGE = 500


def blueprint(operations: Operations, discards: Callable[[], Discards] = lambda: anonymous) -> Blueprint:
    """Make `/api/v1/triggers`, `/api/v1/events`, `/api/v1/dead-letters`. 400 malformed, 404 not found, 422 cannot be done.

    `discards` is called in the request that discards, and returns who that is.
    """
    routes = Blueprint("broker", __name__, url_prefix="/api/v1")

    @routes.get("/triggers")
    def triggers() -> Response:
        return jsonify(triggers=operations.triggers())

    @routes.get("/events")
    def events() -> Response:
        id = request.args.get("id")
        if not id:
            raise Malformed("the id of the event is missing: /api/v1/events?id=ID")
        return jsonify(events=operations.events(id))

    @routes.get("/dead-letters")
    def dead_letters() -> Response:
        limit = limit_of(request.args, 100, MAX_PAGE)
        where = {name: value for name in FILTERS if (value := request.args.get(name)) is not None}
        found = operations.dead_letters(where=where, after=number_of(request.args), limit=limit)
        return jsonify(dead_letters=found, next=str(found[-1]["id"]) if len(found) == limit else None)

    @routes.get("/dead-letters/<int:id>")
    def dead_letter(id: int) -> Response:
        return jsonify(operations.dead_letter(id))

    @routes.post("/dead-letters/<int:id>/replay")
    def replay(id: int) -> tuple[Response, int]:
        _body({})
        operations.replay(id)
        return jsonify(replayed=1), 202

    @routes.post("/dead-letters/<int:id>/discard")
    def discard(id: int) -> tuple[Response, int]:
        operations.discard(id, _reason(_body({"reason": str})), discards())
        return jsonify(discarded=1), 202

    @routes.post("/dead-letters/replay")
    def replay_many() -> tuple[Response, int]:
        return jsonify(replayed=operations.replay_where(_where(_body({"where": dict})))), 202

    @routes.post("/dead-letters/discard")
    def discard_many() -> tuple[Response, int]:
        body = _body({"where": dict, "reason": str})
        return jsonify(discarded=operations.discard_where(_where(body), _reason(body), discards())), 202

    @routes.errorhandler(LookupError)
    def unknown(problem: LookupError) -> Response:
        return problem_response(404, str(problem.args[0]))

    return routes


def _body(shape: Mapping[str, type]) -> Mapping[str, Any]:
    """Return the body: a JSON object with these members at most. Raises Malformed."""
    body = json_object()
    for name, value in body.items():
        if name not in shape or not isinstance(value, shape[name]):
            expected = ", ".join(f"{member}: {type.__name__}" for member, type in shape.items())
            raise Malformed(f"{name!r} is not expected; {expected or 'nothing'} is")
    return body


def _where(body: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the selection. An empty one means all, and must be given: {"where": {}}."""
    if "where" not in body:
        raise Malformed("`where` is missing: it selects dead letters; {} selects all of them")
    for name, value in body["where"].items():
        number = name == "code" and isinstance(value, int) and not isinstance(value, bool)
        if not (isinstance(value, str) and len(value) <= LONGEST_TEXT) and not number:
            raise Rejected(f"the value of {name!r} in `where` is not a text of at most {LONGEST_TEXT} characters")
    return {name: str(value) for name, value in body["where"].items()}


def _reason(body: Mapping[str, Any]) -> str:
    reason: str = body.get("reason", "").strip()
    if not reason or len(reason) > LONGEST_TEXT:
        raise Rejected(
            f"`reason` is missing, or longer than {LONGEST_TEXT} characters: it is stored with the discarded dead letter"
        )
    return reason
