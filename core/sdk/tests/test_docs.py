"""The pages for authors say what the code does. `pytest --update-fixtures` writes the generated parts anew."""

import ast
import base64
import importlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import penguin_hub_sdk
import pytest
from penguin_hub_sdk import errors, policy
from penguin_hub_sdk.config import Config, Secret
from penguin_hub_sdk.testing.quality import RULES
from penguin_hub_sdk.webhooks import InboundRequest

DOCS = Path(__file__).parents[3] / "docs" / "plugins"
PAGES = sorted(DOCS.glob("*.md"))
TEMPLATE = penguin_hub_sdk.template_path()

EXPORTED = """
Address Answer Attachment BODY Basic BasicAuth BatchEmailProvider Bearer Config Connector Context Destination Detail
Digest E Ecdsa EmailProvider Event GooglePush Hmac Http InboundRequest Limits Log METHOD MailgunSignature Manifest
Message Network Part Plugin ProviderEvent Receipt Refusal Response Secret SharedToken Sns StandardWebhooks State
TIMESTAMP URL Webhook errors hookimpl template_path verifiers
"""


def test_the_exported_names() -> None:
    """A name that goes breaks plugins we have never seen."""
    assert sorted(penguin_hub_sdk.__all__) == sorted(EXPORTED.split())
    assert all(hasattr(penguin_hub_sdk, name) for name in penguin_hub_sdk.__all__)


def _effects() -> str:
    rows = ["| raise | kind | again | connection | told | breaker |", "|---|---|---|---|---|---|"]
    for kind in errors.PluginError.__subclasses__():
        if kind.__module__ == errors.__name__:
            effect = kind.effect
            marks = [("yes" if flag else "no") for flag in (effect.retryable, effect.notify, effect.breaker)]
            rows.append(
                f"| `{kind.__name__}` | {effect.kind} | {marks[0]} | {effect.connection} | {marks[1]} | {marks[2]} |"
            )
    return "\n".join(rows)


def _statuses() -> str:
    rows = ["| status | raises |", "|---|---|"]
    rows += [f"| {status} | `{kind.__name__}` |" for status, kind in sorted(policy.ERRORS.items())]
    made = policy.HttpPolicy(plugin="acme", hosts=())
    rows += [f"| other {status // 100}xx | `{made.error(status).__name__}` |" for status in (300, 400, 500)]
    return "\n".join(rows)


def _rules() -> str:
    return "\n".join(["| rule | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in RULES.items())])


GENERATED: dict[str, tuple[str, Callable[[], str]]] = {
    "effects": ("errors.md", _effects),
    "statuses": ("http.md", _statuses),
    "rules": ("testing.md", _rules),
}


@pytest.mark.parametrize("name", GENERATED)
def test_tables_are_generated_from_the_code(name: str, update_fixtures: bool) -> None:
    page, make = GENERATED[name]
    _check(
        DOCS / page,
        re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", re.DOTALL),
        f"\n{make()}\n\n",
        update_fixtures,
    )


def test_the_code_of_the_guide_is_the_template_s(update_fixtures: bool) -> None:
    page = DOCS / "write-a-plugin.md"
    marks = re.findall(r"<!-- template:(.*?):(\w+) -->", page.read_text())
    assert len(marks) == 4
    for file, language in marks:
        text = (TEMPLATE / file).read_text()
        for hole, value in (
            ("plugin", "acme"),
            ("package", "penguin_hub_acme"),
            ("name", "Acme"),
            ("class_name", "Acme"),
        ):
            text = text.replace(f"{{{{ {hole} }}}}", value)
        pattern = re.compile(rf"(<!-- template:{re.escape(file)}:{language} -->\n)(.*?)(<!-- /template -->)", re.DOTALL)
        _check(page, pattern, f"\n```{language}\n{text}```\n\n", update_fixtures)


def _check(page: Path, pattern: re.Pattern[str], expected: str, update: bool) -> None:
    text = page.read_text()
    found = pattern.search(text)
    assert found is not None, f"{page.name} has lost its marks"
    if update:
        page.write_text(text[: found.start(2)] + expected + text[found.end(2) :])
    else:
        assert found[2] == expected, f"{page.name} is old: run pytest --update-fixtures {__file__}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_parse_and_import_what_exists(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("penguin_hub_sdk"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page.name}: {node.module} has no {alias.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


class Settings(Config, frozen=True):
    webhook_secret: Secret


def test_the_declarations_on_the_page_accept_what_the_providers_sign() -> None:
    (block,) = re.findall(
        r"```python\n(from penguin_hub_sdk.verifiers.*?)```", (DOCS / "webhooks.md").read_text(), re.DOTALL
    )
    space: dict[str, dict[str, penguin_hub_sdk.webhooks.Verifier]] = {}
    exec(block, space)  # noqa: S102 - a page of this repository
    vectors = json.loads((Path(__file__).parent / "webhook_vectors.json").read_text())["vectors"]
    known = [vector for vector in vectors if vector["verifier"] in space["SCHEMES"]]
    assert len({vector["verifier"] for vector in known}) >= 8
    for vector in known:
        request = InboundRequest(
            method=vector["method"],
            url=vector["url"],
            headers=tuple(vector["headers"].items()),
            body=base64.b64decode(vector["body_b64"]),
            received_at=datetime.fromtimestamp(vector["now"], UTC),
        )
        config = Settings(webhook_secret=Secret(vector["config"]["secret"]))
        space["SCHEMES"][vector["verifier"]].verify(request, [config])
