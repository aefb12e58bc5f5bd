"""What the pages say is what the code does: the flow's diagram, and the links between pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenlight.events import types
from greenlight.flow import FLOW

ROOT = Path(__file__).parents[2]
PAGES = [*map(ROOT.joinpath, ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]), *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_diagram_of_the_readme_is_the_flow() -> None:
    """Every edge of the wiring table is an arrow into its service, and no arrow is made up."""
    diagram = (ROOT / "README.md").read_text().split("```mermaid")[1].split("```")[0]
    arrows = {
        (word.strip(), arrow[2])
        for arrow in re.findall(r'(\S+) -- "(.*?)" --> (\w+)', diagram)
        for word in arrow[1].split(",")
    }
    drawn = {(on, service) for on, service in arrows if service != "broker"}
    wired = {("facts" if on == types.FACT else on, edge.service) for edge in FLOW for on in edge.on}
    assert drawn == wired


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A relative link names a file that is there."""
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_a_section_name_one_of_its_headings(page: Path) -> None:
    """On the same page, or on another one."""
    for path, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        target = page.parent / path if path else page
        if target.suffix == ".md":
            assert anchor in _anchors(target), f"{path}#{anchor}"


def test_the_index_has_every_page() -> None:
    """Each in the list of at least one reader."""
    index = (ROOT / "docs" / "README.md").read_text()
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= set(
        re.findall(r"\]\((\w[\w-]*\.md)", index)
    )


def _prose(page: Path) -> list[str]:
    """The lines of a page that are neither code, nor a table, nor the address of a link."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [line for line in text.splitlines() if not re.match(r"\||    |\[\w+\]: ", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_prose_end_at_120_columns(page: Path) -> None:
    """So that a page reads in a terminal, too."""
    assert [line for line in _prose(page) if len(line) > 120] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_the_terms_of_the_field(page: Path) -> None:
    """Words of a private dialect say to no reader what is meant."""
    private = r"\b(told|strangers?|of ours|nobody|somebody|whoever|crew|lanes?|courier)\b"
    text = re.sub(r"^```.*?^```|`[^`]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert re.findall(private, text, re.IGNORECASE) == []


def test_every_service_of_the_flow_has_the_same_file_names() -> None:
    """Whoever has opened one service has opened all."""
    for service in {edge.service for edge in FLOW} | {"webhooks", "board"}:
        source = (ROOT / "services" / "greenlight" / service / "app.py").read_text()
        assert re.search(r"^def create_(app|service)\(", source, re.MULTILINE)
        assert ("\nHANDLERS" in source) == (service in {edge.service for edge in FLOW})
