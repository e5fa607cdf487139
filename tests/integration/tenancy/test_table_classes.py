"""The Piccolo classes say what the migrated database has: neither can drift from the other."""

import importlib
import pkgutil

import penguin_hub
from penguin_hub.platform import db
from penguin_hub.settings import Settings
from piccolo.columns import Serial
from piccolo.table import Table


def classes() -> list[type[Table]]:
    names = [module.name for module in pkgutil.walk_packages(penguin_hub.__path__, "penguin_hub.")]
    found = []
    for name in names:
        if name.endswith(".tables"):
            module = importlib.import_module(name)
            found += [
                c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Table) and c is not Table
            ]
    return found


async def test_every_table_has_its_class_and_every_class_its_columns(settings: Settings, database: db.Database) -> None:
    async with db.owner(settings.database_url) as owner:
        rows = await owner.fetch(
            """SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
               JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
               WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition
                 AND relname NOT IN ('migration', 'workers')"""
        )
    there: dict[str, set[str]] = {}
    for row in rows:
        there.setdefault(row["relname"], set()).add(row["attname"])
    # A class without a primary key of one column is given a serial one by Piccolo, which the table does not have.
    said = {
        table._meta.tablename: {c._meta.db_column_name for c in table._meta.columns if not isinstance(c, Serial)}
        for table in classes()
    }
    assert said == there
