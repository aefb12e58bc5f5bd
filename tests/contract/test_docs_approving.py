"""The page for approvers is followed command by command, with the commit of the tutorial."""

from __future__ import annotations

import re
from pathlib import Path

from support.reader import Reader, commands, follow

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "approving.md").read_text()
PIPELINE = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates:
      tests: {github-check: {name: test, app: github-actions}}
      approval_from_legal: {approval: {groups: [legal], count: 1, not: author}}
    environments:
      - name: production
        require: [tests, approval_from_legal]
        deploy: {command: {run: ["true"]}}
"""
PEOPLE = """
people:
  lena: {github: lena-gh, groups: [legal]}
  max: {github: max-gh, groups: [legal]}
  otto: {github: otto-gh, groups: [release]}
"""


def test_the_page_goes_as_it_says(tmp_path: Path) -> None:
    """max-gh is the author of the tutorial's commit; lena approves, and revokes."""
    (tmp_path / "config").mkdir()
    reader = Reader(tmp_path)
    reader.write("config/pipeline.yaml", PIPELINE)
    reader.write("config/people.yaml", PEOPLE)
    tutorial = (DOCS / "tutorial.md").read_text()
    for file in ("push.json", "check.json"):
        (text,) = re.findall(rf"`{file}`:\n\n```json\n(.*?)```", tutorial, re.DOTALL)
        reader.write(file, text)
    for variable, person in (("GREENLIGHT_TOKEN", "lena"), ("TOKEN_OF_MAX", "max"), ("TOKEN_OF_OTTO", "otto")):
        (token,) = reader.run(f"greenlight people token {person}")
        reader.env[variable] = token
    try:
        reader.start()
        follow(reader, "greenlight send github push push.json", ["accepted as ..."])
        follow(reader, "greenlight send github check_run check.json", ["accepted as ..."])
        for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
            for command, shown in commands(block):
                follow(reader, command, shown)
        (curl,) = re.findall(r"((?:^    .*\n)+)\Z", PAGE, re.MULTILINE)
        assert len(re.findall("approval.granted", "\n".join(reader.run("greenlight journal acme/shop 82c4a6d")))) == 1
        assert '"id"' in "".join(reader.run(curl.replace("curl", "curl -s")))
        assert len(re.findall("approval.granted", "\n".join(reader.run("greenlight journal acme/shop 82c4a6d")))) == 2
    finally:
        reader.close()
