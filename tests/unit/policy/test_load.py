"""Pipeline files: what they mean, what is wrong with them and on which line, and what their digest covers."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.lib.durations import duration, span
from greenlight.model.policy import Policy
from greenlight.policy.explain import explain
from greenlight.policy.gates.approval import Approval
from greenlight.policy.gates.event import Event
from greenlight.policy.gates.webhook import Webhook
from greenlight.policy.load import PolicyError, warnings
from greenlight.policy.schema import schema_text
from greenlight.policy.signals import repo_of_circleci_project
from support.policy import GOOD, parse

ROOT = Path(__file__).parents[3]


def shop(text: str = GOOD) -> Policy:
    return parse({"pipeline.yaml": text}, Path("config")).applications["shop"]


def problems(**files: str) -> list[str]:
    with pytest.raises(PolicyError) as error:
        parse({f"{name}.yaml": text for name, text in files.items()}, Path("config"))
    assert str(error.value).splitlines() == [str(problem) for problem in error.value.problems]
    return [str(problem) for problem in error.value.problems]


def test_a_pipeline_file_becomes_policies() -> None:
    """Names in lower case, durations as time, defaults filled, gates by kind."""
    policy = shop()
    assert (policy.repo, policy.branches, policy.tags, policy.operators) == ("acme/shop", ("main",), (), ())
    assert policy.gates["scan"] == Webhook(name="scan", scanner="scan", max_age=timedelta(hours=36))
    assert policy.gates["custom"] == Event(name="custom", type="com.example.scan", by="lab", where={"severity": "none"})
    legal = Approval(name="legal", groups=("legal",), count=2, not_author=True, expires=timedelta(days=14))
    assert policy.gates["legal"] == legal
    production = policy.environments["production"]
    assert (production.after, production.tries, production.deploy.driver) == (("staging",), 5, "command")
    assert production.deploy.config == {"run": ["./deploy.sh", "--wait"], "env": {}, "cwd": ".", "timeout": "1h"}
    assert list(policy.environments) == ["staging", "production"]


def test_a_circleci_project_tells_its_repository_in_any_case() -> None:
    """For webhooks that name no repository."""
    pipeline = parse({"p.yaml": GOOD}, Path("config"))
    assert repo_of_circleci_project(pipeline, "3f2a1b4c-0000-4000-8000-000000000000".upper()) == "acme/shop"
    assert repo_of_circleci_project(pipeline, "00000000-0000-4000-8000-000000000000") is None


def test_the_text_of_a_policy_is_a_pipeline_file_of_the_same_policy() -> None:
    """So that what the ledger keeps under a digest can be read again for ever."""
    policy = shop()
    assert shop(policy.text) == policy


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("Acme/Shop", "acme/shop"), True),
        (("    branches: [main]\n", "    branches: [main]  # the trunk\n    operators: []\n"), True),
        (("kind: Pipeline\n", "kind: Pipeline\n# nothing else\n"), True),
        (("  prod: {eks", "  spare: {in-cluster: true}\n  prod: {eks"), True),
        (("eu-west-1", "eu-west-2"), False),
        (("count: 2", "count: 1"), False),
        (("timeout: 1h", "timeout: 2h"), False),
    ],
)
def test_the_digest_is_of_what_an_application_says_and_the_clusters_it_uses(
    change: tuple[str, str], same: bool
) -> None:
    """Neither comments nor spelled-out defaults nor other clusters change it; everything that decides does."""
    changed = GOOD.replace(*change)
    assert changed != GOOD
    assert (shop(changed).digest == shop().digest) is same


BAD = [
    ("kind: Pipeline", "kind: Pipelines", 2, "kind: is 'Pipelines', but must be Pipeline"),
    ("applications:", "aplications:", 5, "unknown field 'aplications'; did you mean 'applications'?"),
    (
        "tests: {github-check",
        "tests: {github_check",
        11,
        "gates.tests: unknown gate kind 'github_check'; did you mean 'github-check'?",
    ),
    ("{webhook: scan, max-age: 1d12h}", "{max-age: 1d}", 12, "gates.scan: names no gate kind; give one of approval, "),
    ("{webhook: scan,", "{webhook: scan, event: x,", 12, "gates.scan: names 2 of approval, "),
    (
        "max-age: 1d12h",
        "max-age: 1 day",
        12,
        "gates.scan.max-age: is '1 day', but must be a duration such as 10m, 7d or 1h30m",
    ),
    ("max-age: 1d12h", "max-age: 0m", 12, "gates.scan.max-age: is '0m', but must be a duration"),
    ("max-age: 1d12h", "sender: lab", 12, "gates.scan.sender: goes only with event"),
    (
        "where: {severity: none}",
        "where: {severity: [none]}",
        13,
        "gates.custom.where.severity: must be text, a number, true, false or null",
    ),
    ("groups: [legal]", "groups: legal", 14, "gates.legal.approval.groups: is 'legal', but must be a list"),
    ("not: author", "not: Author", 14, "gates.legal.approval.not: is 'Author', but must be author"),
    ("count: 2", "count: 0", 14, "gates.legal.approval.count: is 0, but must be a whole number from 1 to 100"),
    (
        "expires: 14d}}",
        "expires: 14d}, max-age: 1d}",
        14,
        "gates.legal.max-age: is for signals; write expires inside the approval",
    ),
    ("    branches: [main]\n", "", 6, "shop: ships nothing; give it branches or tags, such as branches: [main]"),
    (
        "branches: [main]",
        "branches: [rel**]",
        8,
        "branches[0]: 'rel**': ** stands for whole parts between slashes; write * or 'rel*/**'",
    ),
    (
        "branches: [main]",
        "branches: ['[a-z]*']",
        8,
        "branches[0]: is '[a-z]*', but must be a name or a pattern with *, ? and **",
    ),
    ("name: shop\n", "name: Shop\n", 6, "name: is 'Shop', but must be a name: lower-case letters"),
    ("name: shop\n", "name: ../shop\n", 6, "name: is '../shop', but must be a name"),
    ("      legal:", "      legal gate:", 14, "gates.legal gate: is 'legal gate', but must be a name"),
    (
        "require: [tests]",
        "require: [test]",
        17,
        "environments.staging.require: 'test' is not a gate of shop; its gates are tests, scan, custom, legal",
    ),
    (
        "after: [staging]",
        "after: [stagin]",
        20,
        "environments.production.after: 'stagin' is not an environment; did you mean 'staging'?",
    ),
    (
        "after: [staging]",
        "after: [production]",
        20,
        "environments.production.after: goes in a circle: production → production",
    ),
    (
        "        require: [tests]\n",
        "        require: [tests]\n        after: [production]\n",
        18,
        "environments.staging.after: goes in a circle: staging → production → staging",
    ),
    (
        "after: [staging]",
        "after: [{stagin: 2h}]",
        20,
        "environments.production.after: 'stagin' is not an environment; did you mean 'staging'?",
    ),
    (
        "after: [staging]",
        "after: [{staging: two hours}]",
        20,
        "environments.production.after[0].staging: is 'two hours', but must be a duration such as 10m, 7d or 1h30m",
    ),
    (
        "after: [staging]",
        "after: [staging, {staging: 2h}]",
        20,
        "environments.production.after: 'staging' is there twice, with another soak time",
    ),
    (
        "after: [staging]",
        "after: [{staging: 2h, production: 1h}]",
        20,
        "environments.production.after[0]: must be the name of an environment, or one with its soak time, such as "
        "{staging: 2h}",
    ),
    (
        "        require: [tests]\n",
        "        require: [tests]\n        after: [{production: 1h}]\n",
        18,
        "environments.staging.after: goes in a circle: staging → production → staging",
    ),
    ("name: production", "name: staging", 19, "environments.staging: there is an environment of that name already"),
    (
        "helm: {cluster: prod",
        "helm: {cluster: prd",
        18,
        "environments.staging.deploy.helm.cluster: 'prd' is not one of the clusters; did you mean 'prod'?",
    ),
    ("charts/shop", "../charts", 18, "deploy.helm.chart: '../charts' leads out of the folder of the pipeline file"),
    ("charts/shop", "/charts", 18, "deploy.helm.chart: '/charts' leads out of the folder"),
    ("charts/shop", '"oci://x.io/shop:1.2"', 18, "a tag or version can be moved to another chart"),
    (
        "charts/shop",
        '"https://x.io/shop.tgz"',
        18,
        "deploy.helm.chart: is 'https://x.io/shop.tgz', but must be oci://…@sha256:",
    ),
    (
        "charts/shop",
        "{repository: 'https://x.io', name: shop, version: ^1.2, digest: 'sha256:'}",
        18,
        "helm.chart.version: is '^1.2', but must be one exact version",
    ),
    ("release: shop", "release: --shop", 18, "helm.release: is '--shop', but must be lower-case letters"),
    (
        '"${sha}"',
        '"x-${shaa}"',
        18,
        "helm.values.tag: '${shaa}' is not known; there are ${sha}, ${short_sha}, ${repo}, ${environment}, "
        "${tag} and ${artifacts.NAME}",
    ),
    ('"${sha}"', '"v-${tag}"', 18, "helm.values.tag: ${tag} is never known, since the application ships no tags"),
    ('"${sha}"', '"${sha"', 18, "helm.values.tag: '${sha' is not known"),
    ('"${sha}"', '"${artifacts.A B}"', 18, "helm.values.tag: '${artifacts.A B}' is not known"),
    (
        '[./deploy.sh, "--wait"]',
        "./deploy.sh --wait",
        22,
        "command.run: is './deploy.sh --wait', but must be a list: the program and its arguments",
    ),
    ('[./deploy.sh, "--wait"]', "[]", 22, "command.run: must be a list: the program"),
    (
        '"--wait"',
        '"${sha}"',
        22,
        "command.run[1]: ${sha} is not replaced in a command; its arguments are constants, so have it read $GREEN",
    ),
    ("timeout: 1h", "cwd: a/../../b", 22, "command.cwd: 'a/../../b' leads out of the folder"),
    ("timeout: 1h", "timeout: 3600", 22, "command.timeout: is 3600, but must be a duration"),
    (
        "timeout: 1h",
        "env: {GREENLIGHT_SHA: x}",
        22,
        "command.env.GREENLIGHT_SHA: is 'GREENLIGHT_SHA', but must be the name of a variable, other than",
    ),
    ("timeout: 1h", "env: {A: 1}", 22, "command.env.A: is 1, but must be text; put it in quotes"),
    (
        "timeout: 1h",
        "env: {A: {}}",
        22,
        "command.env.A: must be text; put it in quotes, or name where a secret is: {file",
    ),
    ("timeout: 1h", "env: {A: {file: a, from: B}}", 22, "or name where a secret is: {file: PATH} or {from: VARIABLE}"),
    ("timeout: 1h", "env: {A: {vault: a}}", 22, "command.env.A: unknown field 'vault'; known are file, from"),
    ("timeout: 1h", "env: {A: {from: $B}}", 22, "command.env.A.from: is '$B', but must be the name of a variable"),
    ("timeout: 1h", "env: {A: {file: ../b}}", 22, "command.env.A.file: '../b' leads out of the folder"),
    ("timeout: 1h", "env: {A: {file: '${sha}'}}", 22, "command.env.A.file: ${sha} is not replaced in a command"),
    ("command: {", "comand: {", 22, "environments.production.deploy: unknown driver 'comand'; did you mean 'command'?"),
    (
        "{eks: {name: shop-prod, region: eu-west-1}}",
        "{kubeconfig: x}",
        4,
        "clusters.prod.kubeconfig: goes only with context",
    ),
    ("region: eu-west-1", "region: there", 4, "clusters.prod.eks.region: is 'there', but must be an AWS region"),
    ("repo: Acme/Shop", "repo: Acme/Shop/x", 7, "repo: is 'Acme/Shop/x', but must be OWNER/NAME"),
    ("3F2A1B4C", "3F2A1B4", 9, "circleci.project: is '3F2A1B4-0000-4000-8000-000000000000', but must be the UUID"),
    ("branches: [main]", "branches: [main]\n    branches: [main]", 9, "'branches' is there twice; first on line 8"),
]


@pytest.mark.parametrize(("old", "new", "line", "says"), BAD)
def test_what_is_wrong_is_told_with_its_line_and_what_would_be_right(old: str, new: str, line: int, says: str) -> None:
    """One mistake each in a good file."""
    assert GOOD.count(old) >= 1
    text = re.sub(re.escape(old), lambda _: new, GOOD, count=1)
    found = problems(pipeline=text)
    assert any(one.startswith(f"pipeline.yaml:{line}: ") and says in one for one in found), found


def test_the_digest_covers_where_a_secret_is_and_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotated secret is no edit of the policy; another place for it is one."""

    def digest(env: str) -> str:
        return parse({"p.yaml": GOOD.replace("timeout: 1h", f"env: {env}")}, tmp_path).applications["shop"].digest

    before = digest("{A: {from: B}}")
    monkeypatch.setenv("B", "another value")
    assert digest("{A: {from: B}}") == before
    assert digest("{A: {from: C}}") != before
    assert digest("{A: {file: /run/b}}") != before


OPERATED = GOOD.replace("gates:", "operators: [ops]\n    gates:", 1)


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        (
            "",
            "nobody may deploy, retry, roll back, pause, freeze, cancel or override: name groups of people as `operators:`",
        ),
        ("operators: [ops]", None),
        (
            'operators: [ops]\n    tags: ["v1"]',
            "several refs feed each environment (branch main, tag v1): whichever is pushed last is deployed",
        ),
    ],
)
def test_who_nobody_operates_and_what_several_refs_feed_is_warned_of(more: str, warned: str | None) -> None:
    """Both work, and are rarely meant."""
    text = GOOD.replace("    gates:", f"    {more}\n    gates:", 1) if more else GOOD
    assert [one.message for one in warnings({"p.yaml": text}, DRIVERS)] == ([f"shop: {warned}"] if warned else [])


@pytest.mark.parametrize(
    ("command", "warned"),
    [
        ("env: {DEPLOY_TOKEN: abc}", "env.DEPLOY_TOKEN: seems to hold a secret"),
        ("env: {PGPASS: abc}", "env.PGPASS: seems to hold a secret"),
        ("env: {DATABASE_URL: 'postgres://a:b@c/d'}", "env.DATABASE_URL: seems to hold a secret"),
        ("env: {TARGET: 'https://c/d?token=b'}", "env.TARGET: seems to hold a secret"),
        ("env: {DATABASE_URL: 'postgres://c/d', REGION: eu, KEY_FILE: /run/key, GIT_AUTHOR_NAME: x}", None),
        ("env: {DEPLOY_TOKEN: {file: /run/token}, PGPASS: {from: PGPASS}}", None),
    ],
)
def test_a_secret_in_the_file_is_warned_of(command: str, warned: str | None) -> None:
    """It works, and everybody who reads the file or the ledger has it."""
    found = warnings({"p.yaml": OPERATED.replace("timeout: 1h", command)}, DRIVERS)
    assert [str(one).split(", which")[0] for one in found] == (
        [f"p.yaml:23: environments.production.deploy.command.{warned}"] if warned else []
    )


def test_a_secret_in_an_argument_is_warned_of() -> None:
    """Every program on the machine sees it."""
    (found,) = warnings({"p.yaml": OPERATED.replace('"--wait"', '"--token=abc"')}, DRIVERS)
    assert "deploy.command.run: seems to hold a secret" in str(found)
    assert "arguments" in str(found)


def test_all_problems_of_all_files_are_told_together() -> None:
    """Broken YAML in one file hides nothing in another; names are unique across files."""
    other = "apiVersion: greenlight/v1\nkind: Pipeline\nclusters: {prod: {in-cluster: true}}\napplications: {}\n"
    found = problems(a=GOOD.replace("[tests]", "[test]").replace("14d", "14"), b=other, c="a: [", d=GOOD)
    assert [one.split(" ")[0] for one in found] == [
        "a.yaml:14:",
        "a.yaml:17:",
        "b.yaml:3:",
        "b.yaml:4:",
        "c.yaml:1:",
        "d.yaml:4:",
        "d.yaml:6:",
    ]
    assert "there is a cluster of that name in a.yaml:4" in found[2]
    assert "there is an application 'shop' in a.yaml:6" in found[6]


def test_a_former_name_is_of_one_application_alone() -> None:
    """Of none that still has it, itself included, and of no two: which one would have its history?"""
    other = GOOD[GOOD.index("apiVersion") :].replace("name: shop", "name: store")
    other = f"apiVersion: greenlight/v1\nkind: Pipeline\napplications:{other.split('applications:')[1]}"
    renamed = other.replace("name: store", "name: store\n    formerly: shop")
    assert [one for one in problems(a=GOOD, b=renamed) if "formerly" in one] == [
        "b.yaml:5: formerly: there is still an application 'shop' in a.yaml:6"
    ]
    second = renamed.replace("name: store", "name: stores")
    clusters = GOOD.split("applications:")[0]
    assert [one for one in problems(a=clusters, b=renamed, c=second) if "formerly" in one] == [
        "c.yaml:5: formerly: the application in b.yaml:5 was called 'shop', too"
    ]
    itself = renamed.replace("formerly: shop", "formerly: store")
    assert [one for one in problems(a=clusters, b=itself) if "formerly" in one] == [
        "b.yaml:5: formerly: there is still an application 'store' in b.yaml:4"
    ]


def test_applications_and_clusters_may_stand_in_several_files() -> None:
    """One folder, one pipeline."""
    head, apps = GOOD.split("applications:")
    rest = f"apiVersion: greenlight/v1\nkind: Pipeline\napplications:{apps}"
    assert parse({"clusters.yaml": head, "shop.yaml": rest}, Path("config")).applications["shop"] == shop()


def test_a_circle_is_told_once() -> None:
    """At its first member, whichever of them one begins with."""
    circle = GOOD.replace("        require: [tests]\n", "        require: [tests]\n        after: [production]\n")
    assert len(problems(pipeline=circle)) == 1


def test_one_circleci_project_is_of_one_repository() -> None:
    """Or its webhooks would speak for whichever was found first."""
    second = GOOD.replace("name: shop\n", "name: till\n").replace("Acme/Shop", "acme/till").split("clusters:")
    text = second[0] + "applications:" + second[1].split("applications:")[1]
    assert (
        "b.yaml:7: circleci.project: is the project of acme/shop already; a project builds one repository"
        in problems(a=GOOD, b=text)
    )


HELM = """apiVersion: greenlight/v1
kind: Pipeline
clusters:
  east: {kubeconfig: east.yaml, context: x}
  same: {kubeconfig: ./east.yaml, context: x}
  west: {kubeconfig: east.yaml, context: y}
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates: {}
    environments:
      - {name: test, require: [], deploy: {helm: {cluster: east, chart: c, release: shop, namespace: shop}}}
"""
LIVE = (
    "      - {name: live, require: [], deploy: {helm: {cluster: CLUSTER, chart: c, release: shop, namespace: SPACE}}}\n"
)
TILL = (
    HELM.partition("clusters:")[0]
    + "applications:"
    + HELM.partition("applications:")[2].replace("name: shop", "name: till")
)


@pytest.mark.parametrize("cluster", ["east", "same"])
def test_two_environments_never_share_a_release(cluster: str) -> None:
    """Whatever the cluster is called; each would overwrite what the other deployed."""
    text = HELM + LIVE.replace("CLUSTER", cluster).replace("SPACE", "shop")
    (found,) = problems(pipeline=text)
    assert found.startswith("pipeline.yaml:14: environments.live.deploy.helm.release: 'shop' in namespace 'shop'"), (
        found
    )
    assert "is the release of shop/test (pipeline.yaml:13) already" in found


def test_two_applications_in_two_files_never_share_a_release() -> None:
    (found,) = problems(a=HELM, b=TILL)
    assert found.startswith("b.yaml:9: environments.test.deploy.helm.release: 'shop'"), found
    assert "shop/test (a.yaml:13)" in found


@pytest.mark.parametrize(("cluster", "space"), [("west", "shop"), ("east", "live")])
def test_one_name_in_two_places_is_two_releases(cluster: str, space: str) -> None:
    text = HELM + LIVE.replace("CLUSTER", cluster).replace("SPACE", space)
    assert list(shop(text).environments) == ["test", "live"]


def test_a_release_that_looks_like_a_template_is_a_problem_and_not_a_crash() -> None:
    """What is wrong with its name, and that it is there twice."""
    twice = HELM + LIVE.replace("CLUSTER", "east").replace("SPACE", "shop")
    found = problems(pipeline=twice.replace("release: shop", "release: '{x}{0}'"))
    assert any("is the release of shop/test" in problem for problem in found), found
    assert any("must be lower-case letters" in problem for problem in found), found


@pytest.mark.parametrize("text", ["", "[]", "5", "a", "applications: 5", "applications: [5, null]", "clusters: [a]"])
def test_what_is_no_pipeline_at_all_is_a_problem_and_not_a_crash(text: str) -> None:
    """Whatever its shape."""
    assert problems(pipeline=text)


def test_the_schema_beside_the_configuration_is_the_one_that_is_checked() -> None:
    """Editors read the copy; `greenlight policy schema > config/pipeline.schema.json` writes it."""
    assert (ROOT / "config/pipeline.schema.json").read_text(encoding="utf-8") == schema_text(DRIVERS)


@given(st.integers(1, 99999 * 86400))
def test_a_span_of_time_is_written_as_it_is_read(seconds: int) -> None:
    """Both ways."""
    assert duration(span(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "1m1x", "-1m", "1 m", "1.5h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With an example of one that is."""
    with pytest.raises(ValueError, match="such as 10m"):
        duration(text)


def test_a_policy_is_explained_in_words() -> None:
    """Who can open each gate, and what each environment waits for."""
    words = explain(shop())
    for line in (
        "shop is made from acme/shop",
        "commits pushed to branch main",
        "2 × approval from legal (not the author), for 14d",
        "webhook scan passed, for 1d12h",
        "event com.example.scan from lab where severity is 'none'",
        "check test of github-actions passed on a shipped branch or tag, or in its merge queue",
        "requires    tests, scan, legal",
        "by helm: shop in staging of cluster prod",
    ):
        assert line in words


BY_HAND = "require: [tests, scan, legal]\n        promote: manual"


@pytest.mark.parametrize(("any_branch", "warned"), [("", True), (", any-branch: true", False)])
def test_reviews_that_cannot_count_are_warned_of(any_branch: str, warned: bool) -> None:
    """Pull requests are for branches, of which the application ships none."""
    text = OPERATED.replace("branches: [main]", "tags: [v1]").replace(
        "    gates:", f"    gates:\n      reviewed: {{github-review: {{}}{any_branch}}}", 1
    )
    assert warnings({"p.yaml": OPERATED}, DRIVERS) == []
    found = [one.message for one in warnings({"p.yaml": text}, DRIVERS)]
    assert [message.partition(": ")[0] for message in found] == (["gates.reviewed"] if warned else [])
    assert all("add `any-branch: true`" in message for message in found)


def test_manual_promotion_is_read_explained_and_covered_by_the_digest() -> None:
    """Left out it is automatic, and the digest is what it was before the field existed."""
    text = GOOD.replace("require: [tests, scan, legal]", BY_HAND)
    assert [it.promote for it in shop(text).environments.values()] == ["automatic", "manual"]
    assert shop(text).digest != shop().digest
    assert "promote" not in shop().text
    assert "promotes    nothing by itself: nobody may deploy what is ready" in explain(shop(text))
    assert "promotes    nothing by itself: ops may" in explain(shop(OPERATED.replace(BY_HAND[:29], BY_HAND)))
    assert [str(one) for one in warnings({"p.yaml": text}, DRIVERS)][1:] == [
        "p.yaml:22: environments.production.promote: nothing is ever deployed here: promotion is manual, and nobody may"
        " deploy"
    ]
    assert warnings({"p.yaml": OPERATED.replace(BY_HAND[:29], BY_HAND)}, DRIVERS) == []
    assert problems(p=text.replace("manual", "by hand")) == [
        "p.yaml:22: environments.production.promote: is 'by hand', but must be automatic or manual"
    ]


def test_soak_time_is_read_explained_and_covered_by_the_digest() -> None:
    """An environment with a time is one of `after` like any other."""
    text = GOOD.replace("after: [staging]", "after: [{staging: 1h30m}]")
    production = shop(text).environments["production"]
    assert (production.after, production.soak) == (("staging",), {"staging": timedelta(minutes=90)})
    assert shop(text).digest != shop().digest
    assert "after       staging (at least 1h30m after it succeeded there)" in explain(shop(text))


FREEZE = (
    "require: [tests, scan, legal]\n        freeze:\n"
    "          - {from: fri 18:00, to: mon 08:00, zone: Europe/Berlin, reason: weekend, except: [oncall]}\n"
    "          - {from: 2026-12-24, to: 2026-12-27, zone: UTC, reason: holidays}"
)


def test_freeze_windows_are_read_explained_and_covered_by_the_digest() -> None:
    """Left out there are none, and the digest is what it was before the field existed."""
    text = GOOD.replace("require: [tests, scan, legal]", FREEZE)
    weekly, dated = shop(text).environments["production"].freeze
    assert (weekly.reason, weekly.excepted, dated.excepted) == ("weekend", ("oncall",), ())
    assert shop(text).digest != shop().digest
    assert "freeze" not in shop().text
    words = explain(shop(text))
    for line in (
        "freeze      every week from fri 18:00 to mon 08:00 (Europe/Berlin), weekend: nothing by itself, only requests "
        "of oncall are served",
        "freeze      from 2026-12-24 00:00 to 2026-12-27 00:00 (UTC), holidays: nothing by itself, no request is served",
    ):
        assert line in words
    at = "p.yaml:24: environments.production.freeze[1]"
    for old, new, why in (
        ("zone: UTC", "zone: Europe/Berlim", f"{at}.zone: 'Europe/Berlim' is not a time zone; did you mean"),
        ("to: 2026-12-27", "to: 2026-12-32", f"{at}.to: '2026-12-32' is not a day of the calendar"),
        ("to: 2026-12-27", "to: 2026-12-24", f"{at}.to: must be later than `from`"),
        ("to: 2026-12-27", "to: mon 08:00", f"{at}.to: must be a date if `from` is one"),
        ("to: 2026-12-27", "to: monday", f"{at}.to: is 'monday', but must be a date such as 2026-12-24"),
        (", reason: holidays", "", f"{at}: 'reason' is missing"),
    ):
        (found,) = problems(p=text.replace(old, new))
        assert found.startswith(why)
    (found,) = problems(p=text.replace("to: mon 08:00", "to: fri 18:00"))
    assert found.startswith("p.yaml:23: environments.production.freeze[0].to: must be later than `from`")


def test_the_digest_is_of_the_text() -> None:
    """So that whoever holds the text can check it."""
    import hashlib

    policy = shop()
    assert policy.digest == "sha256:" + hashlib.sha256(policy.text.encode()).hexdigest()
    assert json.loads(policy.text)["applications"][0]["environments"][1]["tries"] == 5
