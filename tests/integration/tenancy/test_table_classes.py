"""The Piccolo classes say what the migrated database has: neither can drift from the other."""

import importlib
import pkgutil

from piccolo.table import Table

import penguin_hub
from penguin_hub.platform import db
from penguin_hub.settings import Settings


def classes() -> list[type[Table]]:
    found = []
    for feature in pkgutil.iter_modules(penguin_hub.__path__):
        if not feature.ispkg:
            continue
        try:
            module = importlib.import_module(f"penguin_hub.{feature.name}.tables")
        except ModuleNotFoundError as error:
            assert error.name == f"penguin_hub.{feature.name}.tables", error  # noqa: PT017 -- any other import must work
            continue
        found += [
            item
            for item in vars(module).values()
            if isinstance(item, type) and issubclass(item, Table) and item is not Table
        ]
    return found


async def test_every_table_has_its_class_and_every_class_its_columns(settings: Settings, database: db.Database) -> None:
    async with db.owner(settings.database_url) as owner:
        rows = await owner.fetch(
            """SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
               JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
               WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'migration'"""
        )
    there: dict[str, set[str]] = {}
    for row in rows:
        there.setdefault(row["relname"], set()).add(row["attname"])
    said = {
        table._meta.tablename: {column._meta.db_column_name for column in table._meta.columns} for table in classes()
    }
    assert said == there
