"""Applications are mounted through their entry points; a broken one is left out."""

from importlib.metadata import EntryPoint

import pytest
from penguin_hub.plugins import apps
from penguin_hub.plugins.apps import App
from support.distributions import Site


def test_the_marketplace_is_there_and_a_broken_application_takes_nothing_away(
    plugins_folder: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [app.name for app in apps.load_apps()] == ["marketplace"]
    module = plugins_folder.add("mounted", "app = 3\n")
    entries = [
        EntryPoint("wrong", f"{module}:app", apps.ENTRY_POINTS),
        EntryPoint("absent", "no_such_module_anywhere:app", apps.ENTRY_POINTS),
        EntryPoint("marketplace", "penguin_hub_marketplace:app", apps.ENTRY_POINTS),
    ]
    monkeypatch.setattr(apps, "entry_points", lambda group: entries)
    (app,) = apps.load_apps()
    assert isinstance(app, App)
    assert len(app.routes) == 2
