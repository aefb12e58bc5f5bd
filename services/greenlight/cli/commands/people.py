"""The command people: the people in people.yaml, beside the pipeline file, and their tokens."""

from __future__ import annotations

from pathlib import Path

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import USAGE, Client, Failure
from greenlight.lib.errors import ConfigurationError
from greenlight.service.people import ADD, NAME_THEM, read, without_identity
from greenlight.service.people_tokens import new_token

config = args.config("people.yaml")


@click.group()
def people() -> None:
    """Manage people in config/people.yaml, who may approve and operate, and erase data of authors."""


@people.command("token")
@click.argument("person")
@config
def token(person: str, config: Path) -> None:
    """Make a new token for PERSON and print it, only once; the file keeps its digest. Older tokens stay valid.

    Example: greenlight people token lena
    """
    try:
        render.line(new_token(config / "people.yaml", person))
    except ConfigurationError as problem:
        raise Failure(str(problem).split("\n"), USAGE) from None


@people.command("erase")
@click.option(
    "--github", multiple=True, metavar="LOGIN", help="A GitHub login of the person. May be given several times."
)
@click.option("--email", multiple=True, metavar="ADDRESS", help="An address of the person. May be given several times.")
@args.as_json
def erase(github: tuple[str, ...], email: tuple[str, ...], as_json: bool) -> None:
    """Erase the titles and the author's name of every commit by a person from the running Greenlight.

    Journals and records stay: they hold no name, and who is an author is still known by digest. Later pushes bring the names
    of the commits that they list. Needs the token of an operator.

    Example: greenlight people erase --github lena-gh --email lena@acme.example
    """
    if not github and not email:
        raise Failure("name the person: --github LOGIN or --email ADDRESS", USAGE)
    answer = Client().post("/people/erasures", {"github": list(github), "emails": list(email)})
    if as_json:
        render.document(answer)
    else:
        render.line(f"erased the titles and the author of {answer['erased']} commits")


@people.command("list")
@config
@args.as_json
def everybody(config: Path, as_json: bool) -> None:
    """List everybody with groups, the number of tokens, and whether they can be recognized as an author.

    Example: greenlight people list --config config
    """
    path = config / "people.yaml"
    try:
        found = read(path)
    except ConfigurationError as problem:
        raise Failure(str(problem).split("\n"), USAGE) from None
    if as_json:
        render.document(
            {
                "people": [
                    {
                        "id": person.id,
                        "name": person.name,
                        "groups": list(person.groups),
                        "tokens": len(person.tokens),
                        "identified": bool(person.identities),
                    }
                    for person in found.values()
                ]
            }
        )
    else:
        render.table(
            ("id", "name", "groups", "tokens"),
            [(person.id, person.name, ", ".join(person.groups), str(len(person.tokens))) for person in found.values()],
        )
        for id in without_identity(found.values()):
            render.line(
                f"{id} cannot be recognized as an author, so no gate with `not: author` counts them: {NAME_THEM}",
                err=True,
            )
        if not found:
            render.line(f"{path}: there is no person yet. {ADD}", err=True)
