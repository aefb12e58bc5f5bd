"""The routes of login: the page, the ways to log in, and logging out."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, g, make_response, redirect, render_template, request

from greenlight.board.login.claims import Claims
from greenlight.board.login.config import TOKEN
from greenlight.board.login.guard import Guard, check_site, local_path
from greenlight.board.login.provider import LoginFailed, Provider
from greenlight.board.login.sessions import UNDER_WAY
from greenlight.board.login.web import LASTS, packed, unpacked
from greenlight.lib.errors import Forbidden, NotFound, Unavailable
from greenlight.service.people import digest_of


def blueprint(guard: Guard) -> Blueprint:
    """Return the routes `/login`, those below it, and `/logout`."""
    login = Blueprint("login", __name__)

    @login.get("/login")
    def page() -> Response:
        return _page(guard, "", 200)

    @login.post("/login/token")
    def by_token() -> Response:
        if not guard.by_token:
            raise NotFound("tokens are for scripts here; the page /login names the ways to log in")
        check_site(request)
        if request.headers.get("Sec-Fetch-Site") is None and request.headers.get("Origin") is None:
            raise Forbidden("this form is for browsers; scripts send `Authorization: Bearer TOKEN` with each request")
        token = request.form.get("token", "").strip()
        if guard.known(token, request) is None:
            return _page(guard, "This token belongs to no person; it may have been replaced.", 401)
        return _log_in(guard, Claims(TOKEN, token=digest_of(token)), request.form.get("next"))

    @login.get("/login/<name>")
    def begin(name: str) -> Response:
        provider = _provider(guard, name)
        try:
            url, kept = provider.begin(guard.callback(name, request))
        except (LoginFailed, Unavailable) as problem:
            return _failed(guard, name, problem)
        response = _after(url)
        cookie = packed(name, local_path(request.args.get("next")), kept)
        guard.sessions.set_cookie(response, guard.sessions.cookie(request, UNDER_WAY), cookie, LASTS)
        return response

    @login.get("/login/<name>/callback")
    def callback(name: str) -> Response:
        provider = _provider(guard, name)
        cookie = guard.sessions.cookie(request, UNDER_WAY)
        try:
            kept = unpacked(request.cookies.get(cookie, ""), name, request.args)
            guard.may_try(request)
            claims = provider.finish(guard.callback(name, request), request.args, kept)
            response = _log_in(guard, claims, kept.get("then"))
        except (LoginFailed, Unavailable, Forbidden) as problem:
            response = _failed(guard, name, problem)
        guard.sessions.set_cookie(response, cookie, "")  # one answer ends a login, right or wrong
        return response

    @login.post("/logout")
    def logout() -> Response:
        response = _after("/login")
        if g.session is not None:
            guard.log.info("%s logged out", g.person.id)
        guard.sessions.end(request, response)
        return response

    return login


def _provider(guard: Guard, name: str) -> Provider:
    if name not in guard.providers:
        raise NotFound("there is no such way to log in; the page /login names those that are")
    return guard.providers[name]


def _failed(guard: Guard, name: str, problem: LoginFailed | Unavailable | Forbidden) -> Response:
    """Show why a login failed, on the page where the next one begins."""
    guard.log.warning("a login by %s failed: %s", name, problem)
    if not isinstance(problem, Unavailable):
        guard.fail(request)
    return _page(guard, f"The login failed: {problem}.", problem.status)


def _page(guard: Guard, problem: str, status: int) -> Response:
    """Return the login page, with what went wrong."""
    then = local_path(request.values.get("next"))
    ways = [{"name": provider.name, "title": provider.title} for provider in guard.providers.values()]
    page = render_template(
        "login.html", by_token=guard.by_token, ways=ways, next=then, problem=problem, live=None, session=g.session
    )
    return make_response(page, status)


def _log_in(guard: Guard, claims: Claims, then: str | None) -> Response:
    """Log a person in. Raises Forbidden where no entry of people.yaml has these claims."""
    response = _after(local_path(then))
    person = guard.sessions.begin(claims, request, response)
    guard.log.info("%s logged in by %s", person.id, claims.by)
    return response


def _after(path: str) -> Response:
    return current_app.make_response(redirect(path, 303))
