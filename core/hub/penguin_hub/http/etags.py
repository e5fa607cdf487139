"""ETag and If-Match (RFC 9110): an entity's version, so that two writers do not overwrite each other unseen."""

import re
from typing import Annotated

from litestar.params import HeaderParameter

from penguin_hub.platform.errors import Invalid

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        max_length=64,
        description="The ETag of what you read: the change is refused with 412 when it is no longer that.",
    ),
]


def etag(version: int) -> str:
    """The header's value for a version."""
    return f'"v{version}"'


def expected_version(if_match: str | None) -> int | None:
    """The version a client insists on; None for no header and for `*`. Raises Invalid for what is not ours."""
    if if_match is None or if_match.strip() == "*":
        return None
    match = re.fullmatch(r'(?:W/)?"v(\d{1,9})"', if_match.strip())
    if match is None:
        raise Invalid.field("If-Match", "format", 'If-Match must be the ETag you were given, such as "v3".')
    return int(match[1])
