"""The catalogue of problem codes: whole, in words, and on the page."""

import re
from pathlib import Path

import penguin_hub.asgi  # noqa: F401 -- with it every feature's errors are imported
import pytest
from penguin_hub.http import catalogue, problems
from penguin_hub.platform.errors import HubError

PAGE = Path(__file__).parents[3] / "docs/api/errors.md"
START, END = "<!-- errors -->\n", "<!-- /errors -->\n"


def kinds(kind: type[HubError]) -> set[type[HubError]]:
    below = {found for special in kind.__subclasses__() for found in kinds(special)}
    return {kind, *below} if kind.__module__.startswith("penguin_hub.") else below


def test_the_page_has_the_table_of_the_code(update_fixtures: bool) -> None:
    before, _, rest = PAGE.read_text().partition(START)
    shown, _, after = rest.partition(END)
    made = f"\n{catalogue.markdown()}\n\n"
    if update_fixtures:
        PAGE.write_text(before + START + made + END + after)
        return
    assert shown == made, "run `pytest tests/unit/http/test_catalogue.py --update-fixtures`, and read the difference"


def test_every_error_has_its_own_words() -> None:
    """But for what is not there and what was changed, of which the code says all."""
    wordless = [kind for kind in kinds(HubError) if kind not in catalogue.KINDS and not kind.__dict__.get("__doc__")]
    assert [kind.__qualname__ for kind in wordless if problems.status_of(kind("")) not in (404, 412)] == []


def test_two_errors_share_a_code_only_when_one_is_the_other() -> None:
    by_code: dict[str, type[HubError]] = {}
    for kind in sorted(kinds(HubError), key=lambda kind: len(kind.__mro__)):
        first = by_code.setdefault(kind.code, kind)
        assert issubclass(kind, first), f"{kind.__qualname__} and {first.__qualname__} are both {kind.code}"


def test_the_types_of_problems_lead_to_their_rows() -> None:
    page = catalogue.page()
    for entry in catalogue.entries():
        assert page.count(f'id="{entry.code}"') == 1
    assert catalogue.show.paths == {problems.DOCS.partition("#")[0]}
    assert not re.search(r"`|ROWS", page)


@pytest.mark.parametrize(("code", "status"), [("missing_scope", 403), ("rate_limited", 429), ("not_acceptable", 406)])
def test_the_catalogue_knows_features_kinds_and_the_framework(code: str, status: int) -> None:
    assert [entry.status for entry in catalogue.entries() if entry.code == code] == [status]
