"""The tutorial is followed literally: its files are written, its commands run, and each prints what the page shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import urllib3

from greenlight.cli.main import main
from greenlight.lib import signing
from support.reader import Reader, commands, follow

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
STEP = re.compile(r"(?:^`(?P<file>\S+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_tutorial_goes_as_it_says(tmp_path: Path) -> None:
    """Only ports differ. At its end the commit is deployed, and the log has the lines by which a reader sees a webhook."""
    reader = Reader(tmp_path)
    try:
        for step in STEP.finditer(PAGE):
            if step["file"]:
                reader.write(step["file"], step["text"])
                continue
            assert step["kind"] == "console", step["text"]
            for command, shown in commands(step["text"]):
                follow(reader, command, shown)
                if command.startswith("greenlight send github push"):
                    _ping(reader)
                    _refused(reader)
        assert (tmp_path / "shop-pipeline" / "deployed").exists()
        logged = reader.log.read_text()
        lines = [line.strip() for line in PAGE.splitlines() if line.strip().startswith("INFO greenlight.webhooks")]
        assert len(lines) == 2
        for line in lines:
            pattern = (
                re.escape(line).replace("7\\.8", "[0-9.]+").replace("13\\.0", "[0-9.]+").replace("\\.\\.\\.", ".*")
            )
            assert re.search(pattern, logged), line
    finally:
        reader.close()


def _ping(reader: Reader) -> None:
    """What GitHub sends first, when a webhook is added."""
    hook = {"zen": "Keep it logically awesome.", "hook_id": 1, "repository": {"full_name": "acme/shop"}}
    reader.write("ping.json", json.dumps(hook))
    assert reader.run("greenlight send github ping ping.json") == ["ignored: nothing follows from the event 'ping'"]


def _refused(reader: Reader) -> None:
    """The responses of the page's last table, as GitHub would show them."""
    url = reader.env["GREENLIGHT_WEBHOOKS_URL"] + "/webhooks/github"
    body = (reader.folder / "push.json").read_bytes()
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signing.github(b"not the secret", body)}
    for status, kind in ((401, "application/json"), (415, "application/x-www-form-urlencoded")):
        response = urllib3.request("POST", url, body=body, headers=headers | {"Content-Type": kind}, retries=False)
        assert response.status == status
        assert f"| {status} |" in PAGE


def test_every_other_command_of_the_page_is_one() -> None:
    """Those that need GitHub or a tunnel are not run, and only the command line's own can be looked up here."""
    named = set(re.findall(r"`greenlight ([a-z-]+)", PAGE)) | set(
        re.findall(r"^    greenlight ([a-z-]+)", PAGE, re.MULTILINE)
    )
    assert {"status", "approve", "retry", "rollback"} <= named
    assert named <= set(main.list_commands(None))  # type: ignore[attr-defined]
