"""A board of a Greenlight that does not run: real routes, ledger and people, and a clock that a test moves."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask
from werkzeug.test import Client

from greenlight.board import app as board
from greenlight.board.login.config import LoginConfig
from greenlight.lib.clock import Clock
from greenlight.service.publisher import InLog
from support.flow import Shop

HERE = "http://127.0.0.1:8080"
PUBLIC = "https://greenlight.acme.example"


@dataclass
class Hands:
    """A clock that stands still until a test moves it, both by the wall and in length."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def move(self, **length: float) -> None:
        self.time += timedelta(**length)


def board_of(shop: Shop, clock: Clock, login: LoginConfig, *, loopback: bool, **more: Any) -> Flask:
    """Return another board over the shop's ledger and people."""
    it = shop.greenlight
    log = logging.getLogger("greenlight.tests")
    deps = board.Deps(
        clock, it.ledger, it.pipeline, InLog(), log, people=it.people, open_reads=loopback, login=login, **more
    )
    return board.create_app(deps)


def browser(app: Flask, url: str = PUBLIC) -> Client:
    """Return a browser that asks for pages at an address, and keeps cookies."""
    return _Browser(app, url)


class _Browser(Client):
    def __init__(self, app: Flask, url: str) -> None:
        super().__init__(app)
        self._url = url

    def open(self, *arguments: Any, **more: Any) -> Any:
        headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Site": "same-origin"}
        more["headers"] = {
            name: value for name, value in {**headers, **(more.get("headers") or {})}.items() if value is not None
        }
        return super().open(*arguments, base_url=self._url, **more)
