"""Workers in PostgreSQL: a row each, and an advisory lock that is free once the worker is gone."""

from penguin_hub.platform.db import Connection, Session

# The first of an advisory lock's two numbers: `PENG`.
_SPACE = 0x50454E47


async def register(session: Session, number: int) -> None:
    """Lock first: a row whose lock is free is that of a dead worker."""
    await session.execute(f"SELECT pg_advisory_lock({_SPACE}, {number})")
    await session.execute(f"INSERT INTO workers (number) VALUES ({number}) ON CONFLICT DO NOTHING")  # noqa: S608 -- an int


async def gone(connection: Connection, own: int) -> list[int]:
    """Workers whose lock could be had, and is held now until this transaction ends."""
    rows = await connection.fetch(
        """SELECT number FROM (SELECT number FROM workers WHERE number <> $1 OFFSET 0) AS others
           WHERE pg_try_advisory_xact_lock($2, number)""",
        own,
        _SPACE,
    )
    return [row["number"] for row in rows]


async def strike_off(connection: Connection, number: int) -> None:
    await connection.execute("DELETE FROM workers WHERE number = $1", number)
