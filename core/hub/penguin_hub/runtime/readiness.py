"""Asks a hub over HTTP whether it is ready, without an HTTP library: starting up has none to spare."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

POLL_SECONDS = 0.02
ANSWER_SECONDS = 5.0


async def status(url: str) -> int | None:
    """The status code of a GET, or None when nobody answers there."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
                line = await reader.readline()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return None
    words = line.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None
