"""Secrets in what tools print: known ones in every form that tools give them, unknown ones by where they stand."""

from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.lib.scrub import HIDDEN, Scrubber, names_secret, secrets_in, secrets_of_arguments

SECRET = "p4ss\"w'ord/of+kiosk <é>&more"


@pytest.mark.parametrize(
    "printed",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(json.dumps({"value": SECRET})),
        json.dumps(SECRET).replace("/", "\\/"),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        shlex.quote(SECRET),
        SECRET.replace("'", "'\\''"),
        repr(SECRET),
        "p4ss&quot;w&#x27;ord/of+kiosk &lt;é&gt;&amp;more",
        "p4ss&#34;w&#39;ord/of+kiosk &lt;é&gt;&amp;more",
        "p4ss\"w'ord/of+kiosk &lt;é&gt;&amp;more",
        "p4ss\\\"w'ord/of+kiosk \\u003cé\\u003e\\u0026more",
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        "p4ss\"w'ord/of+ki\r\nosk <é>&more",
    ],
)
def test_a_known_secret_is_hidden_in_each_form(printed: str) -> None:
    """As JSON, in a URL, as shells and HTML quote it."""
    clean = Scrubber([SECRET])(f"before {printed} after")
    assert clean in ("before [secret] after", 'before "[secret]" after', "before '[secret]' after") or "value" in clean
    assert "kiosk" not in clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")


@given(
    secret=st.text("abcXYZ019+/é", min_size=6, max_size=60),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
    safe=st.booleans(),
)
def test_no_part_of_a_secret_is_left_in_base64(secret: str, before: bytes, after: bytes, safe: bool) -> None:
    """Wherever it stands in what is encoded, as in `user:password`."""
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    whole = encode(before + secret.encode() + after).decode()
    clean = Scrubber([secret])(whole)
    core = whole[(8 * len(before) + 5) // 6 : 8 * (len(before) + len(secret.encode())) // 6]
    assert HIDDEN in clean
    assert core not in clean


def test_base64_that_a_line_break_cuts_is_hidden() -> None:
    """Also where the secret is not at its beginning."""
    whole = base64.b64encode(b"robot-of-the-deployment-of-the-kiosk-in-the-orchard:" + SECRET.encode()).decode()
    clean = Scrubber([SECRET])(f"{whole[:76]}\n{whole[76:]}")
    assert (HIDDEN in clean, whole[72:76] in clean, whole[76:82] in clean) == (True, False, False)


@pytest.mark.parametrize("wide", [64, 76])
def test_base64_in_lines_is_hidden(wide: int) -> None:
    """As `base64` and OpenSSL break it."""
    secret = "".join(chr(97 + number * 7 % 26) for number in range(200))
    text = base64.b64encode(secret.encode() + b"\n").decode()
    lines = [text[at : at + wide] for at in range(0, len(text), wide)]
    clean = Scrubber([secret])("\n".join(lines))
    assert [line for line in lines[:-1] if line in clean] == []


def test_each_line_of_a_secret_of_many_lines_is_hidden() -> None:
    """Tools print them with margins; a line that is too short to be a secret stays."""
    clean = Scrubber(["first-line-of-key\n  second-line-of-key\r\nend"])(
        "| first-line-of-key\n| second-line-of-key\n| end"
    )
    assert clean == f"| {HIDDEN}\n| {HIDDEN}\n| end"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgres://app:hunter2@db/shop", "postgres://app:[secret]@db/shop"),
        ("postgres://app:hun@ter2@db/shop", "postgres://app:[secret]@db/shop"),
        ("redis://:pw@cache", "redis://:[secret]@cache"),
        ("https://0123456789abcdef0123@git.example/x", "https://[secret]@git.example/x"),
        ("https://lena@git.example/x", "https://lena@git.example/x"),
        ("https://db.example/x?a=1&password=hunter2&b=2", "https://db.example/x?a=1&password=[secret]&b=2"),
        ("https://db.example/x?access_token=abc#x", "https://db.example/x?access_token=[secret]"),
        ("host=db user=app password='a b' dbname=x", "host=db user=app password=[secret]' dbname=x"),
        ("Server=db;Password=hunter2;User=x", "Server=db;Password=[secret];User=x"),
        ('{"db_password": "a\\"b", "user": "x"}', '{"db_password": "[secret]", "user": "x"}'),
        ("Authorization: Basic YTpi", "Authorization: Basic [secret]"),
        ("glpat-0123456789abcdefghij", HIDDEN),
        ("http://127.0.0.1:8080/ by a@b, the author=lena", "http://127.0.0.1:8080/ by a@b, the author=lena"),
        ("the token is wrong; password: denied", "the token is wrong; password: denied"),
    ],
)
def test_what_stands_where_secrets_stand_is_hidden(text: str, clean: str) -> None:
    """In URLs, connection strings, JSON and headers, though nobody knows it; and nothing else."""
    assert Scrubber()(text) == clean


def test_names_of_secrets() -> None:
    """Those that say so, in any case, and no author."""
    secret = [
        "PGPASS",
        "DEPLOY_PASSWORD",
        "db_pwd",
        "DATABASE_DSN",
        "PROXY_AUTH",
        "AUTHORIZATION",
        "AUTH_TOKEN",
        "API_KEY",
    ]
    assert [name for name in secret if not names_secret(name)] == []
    assert [
        name for name in ("PWD", "GIT_AUTHOR_NAME", "AUTHORS", "REGION", "DATABASE_URL") if names_secret(name)
    ] == []


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("postgres://app:p%40ss-word@db/shop", "p@ss-word"),
        ("postgres://db/shop?sslmode=off&password=hunter2hunter2", "hunter2hunter2"),
        ("app:swordfish@tcp(db:3306)/shop", "swordfish"),
        ("host=db password='a long one'", "a long one"),
        ('{"user": "x", "password": "one\\ntwo"}', "one\ntwo"),
    ],
)
def test_the_password_within_a_value_is_a_secret(value: str, secret: str) -> None:
    """Whatever the variable is called; decoded, as the tool that gets it prints it."""
    assert secret in secrets_in(value)
    assert value not in secrets_in(value)
    assert value in secrets_in(value, "DATABASE_DSN")


def test_secrets_in_arguments() -> None:
    """After an option or in it; the options themselves are none."""
    arguments = ["./deploy", "--token", "tok-tok", "--password=pass-pass", "https://u:url-pass@db/", "--key", "--fast"]
    assert set(secrets_of_arguments(arguments)) == {"tok-tok", "pass-pass", "url-pass"}
    assert secrets_of_arguments(["./deploy", "--fast", "region=eu"]) == []


def test_new_secrets_are_hidden_at_once_and_old_ones_stay_hidden() -> None:
    """What runs may have been given either."""
    now = ["first-one"]
    scrub = Scrubber(live=lambda: now)
    now[:] = ["second-one"]
    assert scrub("first-one second-one") == f"{HIDDEN} {HIDDEN}"
