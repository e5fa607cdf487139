"""The documentation fails the build when it lies: links lead somewhere, the API's description is that of the code."""

import json
import re
from pathlib import Path

import pytest
from support import hub

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/README.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_the_committed_openapi_document_is_that_of_the_code(tmp_path: Path) -> None:
    made = tmp_path / "openapi.json"
    done = hub.run("openapi", "--out", str(made))
    assert done.returncode == 0, done.stderr
    committed = json.loads((ROOT / "docs/api/openapi.json").read_text())
    assert committed == json.loads(made.read_text()), "run `poe openapi` and commit what it writes"


def test_every_decision_has_its_own_number() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs/decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers))
    assert all(number.isdigit() for number in numbers)
