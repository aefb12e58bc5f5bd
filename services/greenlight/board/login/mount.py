"""Login as a part of the board's Flask app."""

from __future__ import annotations

from flask import Flask, Response, g, request

from greenlight.board.login import routes
from greenlight.board.login.guard import Guard
from greenlight.board.login.sessions import FORMS


def login(app: Flask, guard: Guard) -> None:
    """Let no request in before it is authenticated; add the routes of login, and what pages need of it.

    Templates have `person`, who asks, or None; `csrf_token()`, which each form sends as its hidden field `csrf`; and
    `can_log_in`: whether the page `/login` offers a way.
    """
    app.before_request(guard)
    app.register_blueprint(routes.blueprint(guard))
    app.context_processor(
        lambda: {
            "person": g.get("person"),
            "csrf_token": lambda: g.get("csrf", ""),
            "can_log_in": guard.can_log_in(request),
        }
    )

    @app.after_request
    def headers(response: Response) -> Response:
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        if guard.config.secure:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        if g.get("new_cookie"):
            guard.sessions.set_cookie(response, guard.sessions.cookie(request, FORMS), g.new_cookie)
        if g.get("person") is not None or "Set-Cookie" in response.headers:
            response.headers.setdefault("Cache-Control", "no-store")
        return response
