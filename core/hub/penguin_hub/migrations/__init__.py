"""The schema, as Piccolo migrations: one file a change, applied in the order of their names, forwards only.

A migration is SQL (see `platform/schema`), because policies, partitions and partial indexes are what matters here.
Once released a file is never edited; a later one changes what it made.
"""
