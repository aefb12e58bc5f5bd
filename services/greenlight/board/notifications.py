"""Routes about the destinations of notifications: which of them fail, and tests of them."""

from __future__ import annotations

from flask import Blueprint, Response, g

from greenlight.board import domain
from greenlight.events import ids, rfc3339, types
from greenlight.ledger.notifications import failing, results, test_requested
from greenlight.lib.bodies import LONGEST_TEXT, json_object
from greenlight.lib.errors import Forbidden, Rejected
from greenlight.lib.printable import document
from greenlight.service.deps import Deps
from greenlight.service.people import Person


def mount(api: Blueprint, deps: Deps) -> None:
    """Add the routes below /notifications."""

    @api.get("/notifications")
    def notifications() -> Response:
        return _json({"failing": list(failing(deps.ledger).values())})

    @api.post("/notifications/tests")
    def test() -> Response:
        destination = json_object().get("destination")
        if destination is not None and not (isinstance(destination, str) and 0 < len(destination) <= LONGEST_TEXT):
            raise Rejected(f"destination is not a text of at most {LONGEST_TEXT} characters")
        return _json({"id": request_test(destination, g.person, deps)}, 202)

    @api.get("/notifications/tests/<id>")
    def result(id: str) -> Response:
        found, over = results(deps.ledger, id)
        return _json({"results": list(found), "over": over})


def request_test(destination: str | None, person: Person, deps: Deps) -> str:
    """Ask feedback to try a destination, or all; return the id under which it writes the results. Raises Forbidden."""
    refusal = domain.may_test_destinations(person, list(deps.pipeline().applications.values()))
    if refusal is not None:
        raise Forbidden(refusal)
    now = deps.clock.now()
    id = ids.derive(types.FEEDBACK_TEST, person.id, destination or "", rfc3339(now))
    asked = test_requested(id, person.id, destination, now)
    deps.ledger.transact(asked)
    deps.publisher.publish(asked.emit)
    return id


def _json(value: object, status: int = 200) -> Response:
    return Response(document(value), status=status, content_type="application/json")
