"""Whatever one plugin does while it is found and loaded, the others are there."""

import asyncio
import sys
import time
from pathlib import Path

import pluggy
import pytest
from penguin_hub.plugins import discovery
from penguin_hub.plugins.calls import Calls
from penguin_hub.plugins.errors import PluginIncompatible, PluginNotFound, PluginUnavailable
from penguin_hub.plugins.loader import Loader
from penguin_hub.plugins.schemas import Loaded
from penguin_hub.plugins.service import PluginsService
from penguin_hub_sdk.hooks import NAMESPACE
from support.distributions import CONNECTOR, GOOD, HEADER, HOOK, Site, site


def load(folder: Site) -> dict[str, Loaded]:
    return {plugin.id: plugin for plugin in PluginsService.load([str(folder.folder)]).all()}


def reasons(found: dict[str, Loaded]) -> dict[str, str | None]:
    return {name: plugin.failure.reason if plugin.failure else None for name, plugin in found.items()}


def test_p01_an_import_error_fails_its_plugin_alone(plugins_folder: Site) -> None:
    for name in ("alpha", "beta", "gamma"):
        plugins_folder.add(name)
    plugins_folder.add("broken", "import no_such_module_anywhere\n" + GOOD)
    started = time.monotonic()
    found = load(plugins_folder)
    assert time.monotonic() - started < 1
    assert reasons(found) == {"alpha": None, "beta": None, "broken": "import", "gamma": None}
    failure = found["broken"].failure
    assert failure is not None
    assert "no_such_module_anywhere" in (failure.traceback or "")
    assert "no_such_module_anywhere" not in failure.detail, "tenants do not see what an exception says"
    assert found["broken"].view().detail == failure.detail
    assert found["broken"].view().traceback is None
    assert found["broken"].view(operator=True).traceback == failure.traceback
    assert "penguin_hub_broken" not in sys.modules


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()", "BaseException('x')", "GeneratorExit()"])
@pytest.mark.parametrize("where", ["on import", "in the hook"])
def test_p02_an_exit_ends_the_plugin_not_the_hub(plugins_folder: Site, error: str, where: str) -> None:
    plugins_folder.add("alpha")
    if where == "on import":
        plugins_folder.add("leaver", GOOD + f"\nraise {error}\n")
    else:
        plugins_folder.add("leaver", HEADER + CONNECTOR + f"\n@hookimpl\ndef hub_plugin():\n    raise {error}\n")
    assert reasons(load(plugins_folder)) == {"alpha": None, "leaver": "import"}


def test_p02_an_exit_inside_a_submodule_leaves_nothing_of_the_package(plugins_folder: Site) -> None:
    module = plugins_folder.add("leaver", "from penguin_hub_leaver import helper, end\n" + GOOD)
    package = plugins_folder.folder / module
    (package / "helper.py").write_text("")
    (package / "end.py").write_text("raise SystemExit")
    assert reasons(load(plugins_folder)) == {"leaver": "import"}
    assert not [name for name in sys.modules if name.startswith(module)]


@pytest.mark.parametrize(
    "hooks",
    [
        "@hookimpl\ndef hub_zzz():\n    return 1\n",
        "@hookimpl(specname='hub_plugin')\ndef hub_zzz():\n    return 1\n",
        "@hookimpl(specname='hub_plugin')\ndef zzz(secret):\n    return 1\n",
    ],
    ids=["no such hook", "twice", "unknown argument"],
)
def test_p03_a_bad_hook_after_a_good_one_unregisters_the_plugin_whole(plugins_folder: Site, hooks: str) -> None:
    plugins_folder.add("half", GOOD + hooks)
    loader = Loader(Calls())
    (candidate,) = discovery.find([str(plugins_folder.folder)])
    loaded = loader.load(candidate)
    assert loaded.failure is not None
    assert loaded.failure.reason == "signature"
    assert not loader.hooks.has_plugin("half")
    assert loader.hooks.hook.hub_plugin.get_hookimpls() == []

    plugins_folder.add("half", GOOD + "# Corrected.\n")
    (candidate,) = discovery.find([str(plugins_folder.folder)])
    assert loader.load(candidate).state == "active", "a corrected version loads without a restart"
    assert loader.hooks.has_plugin("half")


def test_p03_pluggy_itself_would_leave_the_unknown_hook_answering(plugins_folder: Site) -> None:
    """Why the loader rolls back by itself: if this fails one day, pluggy does it for us."""
    module = plugins_folder.add("half", GOOD + "@hookimpl\ndef hub_zzz():\n    return 1\n")
    manager = pluggy.PluginManager(NAMESPACE)
    manager.add_hookspecs(sys.modules["penguin_hub_sdk.hooks"])
    manager.register(__import__(module), name="half")
    with pytest.raises(pluggy.PluginValidationError):
        manager.check_pending()
    assert manager.has_plugin("half")


@pytest.mark.parametrize("kind", ["wrapper=True", "hookwrapper=True"])
def test_p03_a_wrapper_around_others_is_refused(plugins_folder: Site, kind: str) -> None:
    plugins_folder.add("around", HEADER + f"@hookimpl({kind})\ndef hub_plugin():\n    return (yield)\n")
    plugins_folder.add("zeta")
    assert reasons(load(plugins_folder)) == {"around": "signature", "zeta": None}


def test_p03_an_async_hook_is_refused_without_a_warning(plugins_folder: Site) -> None:
    plugins_folder.add("later", HEADER + "@hookimpl\nasync def hub_plugin():\n    return None\n")
    assert reasons(load(plugins_folder)) == {"later": "signature"}


@pytest.mark.parametrize("first", ["owner", "newcomer"])
def test_p04_neither_shadows_whatever_the_order_on_disk(tmp_path: Path, first: str) -> None:
    with site(tmp_path / "a") as one, site(tmp_path / "b") as two:
        owner, newcomer = (one, two) if first == "owner" else (two, one)
        owner.add("hubspot", readme="The owner's.")
        newcomer.add("hubspot", "raise RuntimeError('imported')", distribution="hub-spot-free", module="free_hubspot")
        service = PluginsService.load([str(one.folder), str(two.folder)])
    by_distribution = {plugin.distribution: plugin for plugin in service.all()}
    assert by_distribution["penguin-hub-hubspot"].state == "active"
    refused = by_distribution["hub-spot-free"].failure
    assert refused is not None
    assert refused.reason == "duplicate"
    assert "penguin-hub-hubspot 1.2.3" in refused.detail
    assert "free_hubspot" not in sys.modules, "a duplicate is refused before it is imported"
    assert service.get("hubspot").distribution == "penguin-hub-hubspot"


def test_p04_without_an_owner_nobody_gets_the_id(plugins_folder: Site) -> None:
    for name in ("one", "two"):
        plugins_folder.add("hubspot", distribution=f"{name}-hubspot", module=f"{name}_hubspot")
    plugins_folder.add("alpha")
    service = PluginsService.load([str(plugins_folder.folder)])
    assert [(plugin.id, plugin.state) for plugin in service.all()] == [
        ("alpha", "active"),
        ("hubspot", "failed"),
        ("hubspot", "failed"),
    ]


def test_p04_a_distribution_left_twice_by_a_broken_upgrade_is_refused(plugins_folder: Site) -> None:
    plugins_folder.add("alpha", version="1.0")
    plugins_folder.add("alpha", version="2.0")
    assert reasons(load(plugins_folder)) == {"alpha": "duplicate"}


def test_p04_a_folder_twice_on_the_path_is_no_duplicate(plugins_folder: Site) -> None:
    plugins_folder.add("alpha")
    folder = str(plugins_folder.folder)
    service = PluginsService.load([folder, folder + "/", folder])
    assert [plugin.state for plugin in service.all()] == ["active"]


@pytest.mark.parametrize(
    ("requirement", "says"),
    [
        ("httpx<0.20", "httpx<0.20; installed is httpx"),
        ("no-such-distribution>=1", "no-such-distribution>=1, which is not installed"),
        ("httpx ~~ 3", "not a requirement"),
    ],
)
def test_p05_a_requirement_that_is_not_met_is_named_and_nothing_is_imported(
    plugins_folder: Site, requirement: str, says: str
) -> None:
    plugins_folder.add("needy", "raise RuntimeError('imported')", requires=(requirement,))
    plugins_folder.add(
        "content", requires=("httpx>=0.20", 'no-such>1; extra == "x"', 'no-such>1; python_version < "3"')
    )
    found = load(plugins_folder)
    assert reasons(found) == {"needy": "dependency", "content": None}
    assert says in (found["needy"].view().detail or "")


def test_p06_a_plugin_for_another_hub_is_not_imported_and_both_versions_are_named(plugins_folder: Site) -> None:
    plugins_folder.add("future", "raise RuntimeError('imported')", manifest='requires_hub = ">=3000"\n')
    service = PluginsService.load([str(plugins_folder.folder)])
    assert service.get("future").view().failure == "version"
    with pytest.raises(PluginIncompatible) as refused:
        service.usable("future")
    assert refused.value.extra == {"requires_hub": ">=3000", "hub": discovery.hub_version()}


def hook(**fields: str) -> str:
    """`hub_plugin` with some fields of the value replaced."""
    usual = {"manifest": "Manifest.load(__package__)", "config": "Settings", "connect": "Connector"}
    given = ", ".join(f"{name}={value}" for name, value in {**usual, **fields}.items())
    return f"@hookimpl\ndef hub_plugin():\n    return Plugin({given})\n"


MANIFEST = "Manifest(id='bad', name={}, version='1.0.0', category='email', summary='x', hosts={})"
TRAP = """
class Trap:
    @property
    def __class__(self):
        raise SystemExit
    def __getattribute__(self, name):
        raise KeyboardInterrupt
"""
CONTRACTS = {
    "no plugin": "@hookimpl\ndef hub_plugin():\n    return {'manifest': 1}\n",
    "none": "@hookimpl\ndef hub_plugin():\n    return None\n",
    "a subclass": "class Sly(Plugin):\n    pass\n" + hook().replace("return Plugin", "return Sly"),
    "manifest of a dict": hook(manifest="{}"),
    "wrong types inside": hook(manifest=MANIFEST.format(3, "()")),
    "any host": hook(manifest=MANIFEST.format("'x'", "('*',)")),
    "config is no Config": hook(config="dict"),
    "config is open": "class Open(Config, frozen=True, forbid_unknown_fields=False):\n    a: str\n"
    + hook(config="Open"),
    "a list of secrets": "class Many(Config, frozen=True):\n    keys: list[Secret]\n" + hook(config="Many"),
    "a secret inside a struct": "class Part(msgspec.Struct):\n    key: Secret\n"
    "class Deep(Config, frozen=True):\n    part: Part\n" + hook(config="Deep"),
    "connect is nothing": hook(connect="None"),
    "connect promises nothing": hook(connect="lambda ctx: Connector(ctx)"),
    "no send": "class Mute:\n    async def check(self): ...\n" + hook(connect="Mute"),
    "no check": "class Blind:\n    async def send(self, message): ...\n" + hook(connect="Blind"),
    "send is not async": "class Sync(Connector):\n    def send(self, message): ...\n" + hook(connect="Sync"),
    "send wants more": "class More(Connector):\n    async def send(self, message, more): ...\n" + hook(connect="More"),
    "errors map to strings": hook(errors="{404: 'gone'}"),
    "webhook is a dict": hook(webhook="{}"),
    "webhook verifies nothing": hook(webhook="Webhook(verify=None, normalise=print)"),
    "a value that fights": TRAP + hook(errors="Trap()"),
}


@pytest.mark.parametrize("source", CONTRACTS.values(), ids=CONTRACTS)
def test_a_value_that_is_not_what_the_contract_says_is_refused(plugins_folder: Site, source: str) -> None:
    plugins_folder.add("bad", HEADER + CONNECTOR + source)
    plugins_folder.add("good")
    assert reasons(load(plugins_folder)) == {"bad": "contract", "good": None}


def test_a_secret_may_be_optional_and_annotated(plugins_folder: Site) -> None:
    config = (
        "class Wide(Config, frozen=True):\n    a: Secret\n    b: Secret | None = None\n"
        "    c: Annotated[Secret | None, msgspec.Meta(title='C')] = None\n    d: str = 'x'\n"
    )
    plugins_folder.add("wide", HEADER + CONNECTOR + config + HOOK.replace("config=Settings", "config=Wide"))
    found = load(plugins_folder)["wide"]
    assert found.secrets == {"a", "b", "c"}
    assert found.config_schema["properties"]["a"] == {
        "type": "string",
        "format": "password",
        "writeOnly": True,
        "minLength": 1,
    }


def test_a_manifest_of_another_id_is_refused(plugins_folder: Site) -> None:
    plugins_folder.add(
        "mine", manifest='id = "yours"\nname = "Y"\nversion = "1.0.0"\ncategory = "email"\nsummary = "s"'
    )
    assert reasons(load(plugins_folder)) == {"mine": "contract"}


@pytest.mark.parametrize("entry", ["penguin_hub_alpha:hub_plugin", "../alpha", "penguin_hub_alpha [extra]"])
def test_an_entry_point_that_is_not_a_module_is_refused(plugins_folder: Site, entry: str) -> None:
    plugins_folder.add("alpha", entry=entry)
    assert reasons(load(plugins_folder)) == {"alpha": "contract"}


def test_metadata_that_cannot_be_read_takes_nothing_else_away(plugins_folder: Site) -> None:
    plugins_folder.add("alpha")
    for name, metadata in (("nameless", "Metadata-Version: 2.1\n\n"), ("empty", "")):
        info = plugins_folder.folder / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_bytes(b"\xff\xfe[[[\n= =\n")
    assert reasons(load(plugins_folder)) == {"alpha": None}


def test_the_inventory_tells_what_a_plugin_is_and_can_do(plugins_folder: Site) -> None:
    plugins_folder.add("alpha", readme="# Alpha")
    plugins_folder.add("broken", "raise ValueError")
    service = PluginsService.load([str(plugins_folder.folder)])
    alpha = service.get("alpha")
    assert (alpha.publisher, alpha.readme, alpha.version) == ("A. Tester", "# Alpha", "1.2.3")
    view = alpha.view()
    assert view.capabilities is not None
    assert view.capabilities.sends_email
    assert not view.capabilities.destination
    assert view.config_schema is not None
    assert view.config_schema["required"] == ["api_key"]
    with pytest.raises(PluginNotFound):
        service.get("nobody")
    with pytest.raises(PluginUnavailable):
        service.usable("broken")
    assert [plugin.id for plugin in service.active()] == ["alpha"]


def test_loading_needs_no_event_loop_and_leaves_none(plugins_folder: Site) -> None:
    plugins_folder.add("alpha")
    load(plugins_folder)
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
