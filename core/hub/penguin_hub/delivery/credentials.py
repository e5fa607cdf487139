"""What of an endpoint's configuration holds secrets: headers, authentication, the legacy signature.

One rule for all: what was given goes to the secret store; the row, and every answer, get it with the secrets masked.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penguin_hub.delivery import legacy
from penguin_hub.delivery.authentication import MASK, Basic, MutualTls, OAuth2, completed, masked
from penguin_hub.delivery.destinations import Held
from penguin_hub.delivery.legacy import LegacySignature
from penguin_hub.delivery.schemas import ChangedWebhook, NewWebhook, ReplacedWebhook
from penguin_hub.platform.errors import Invalid

# What the engine or HTTP itself sets, and what would change the message's framing or route.
_RESERVED: Final = re.compile(
    r"(?i)webhook-.*|host|content-.*|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|"
    r"proxy-.*|accept-encoding|date|via|forwarded|x-forwarded-.*"
)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_CREDENTIAL: Final = re.compile(r"(?i)authorization|cookie|token|secret|key|password|passwd|credential|signature")


def settled(
    held: Held, wanted: NewWebhook | ReplacedWebhook | ChangedWebhook, *, url: str | None, plain: Mapping[str, str]
) -> tuple[Held, dict[str, Any]]:
    """What the store holds from now on, and the columns that change. `url` is the endpoint's, None for a connection;
    `plain` are its headers that are no secrets. Raises Invalid."""
    columns: dict[str, Any] = {}
    if wanted.headers is not msgspec.UNSET:
        plain, hidden = _headers(wanted.headers, held.headers)
        held = msgspec.structs.replace(held, headers=hidden)
        columns |= {"headers": plain, "secret_headers": sorted(hidden)}
    if wanted.auth is not msgspec.UNSET:
        auth = None if wanted.auth is None else completed(wanted.auth, held.auth)
        held = msgspec.structs.replace(held, auth=auth)
        columns["auth"] = msgspec.to_builtins(masked(auth)) if auth else None
    if wanted.legacy_signature is not msgspec.UNSET:
        signature = wanted.legacy_signature and _legacy(wanted.legacy_signature, held.legacy)
        held = msgspec.structs.replace(held, legacy=signature)
        columns["legacy_signature"] = (
            msgspec.to_builtins(msgspec.structs.replace(signature, secret=MASK)) if signature else None
        )
    _fit(held, plain, url)
    return held, columns


def is_asked(wanted: NewWebhook | ReplacedWebhook | ChangedWebhook) -> bool:
    """Whether a change touches anything of this, or the URL that it must fit to."""
    return any(
        value is not msgspec.UNSET for value in (wanted.headers, wanted.auth, wanted.legacy_signature, wanted.url)
    )


def _fit(held: Held, plain: Mapping[str, str], url: str | None) -> None:
    """Raises Invalid for parts that exclude each other."""
    names = {name.lower() for name in (*plain, *held.headers)}
    if isinstance(held.auth, Basic | OAuth2) and "authorization" in names:
        raise Invalid.field("#/headers/Authorization", "conflict", "`auth` sets this header.")
    if held.legacy is not None and (
        held.legacy.header.lower() in names
        or (isinstance(held.auth, Basic | OAuth2) and held.legacy.header.lower() == "authorization")
    ):
        raise Invalid.field("#/legacy_signature/header", "conflict", "This header has another value already.")
    if url is None and (held.auth is not None or held.legacy is not None):
        raise Invalid.field("#/auth", "kind", "Only an endpoint with a URL is authenticated to, or signed for.")
    if isinstance(held.auth, MutualTls) and not (url or "").lower().startswith("https:"):
        raise Invalid.field("#/url", "https_required", "A client certificate is presented over https only.")


def _legacy(given: LegacySignature, held: LegacySignature | None) -> LegacySignature:
    if given.secret == MASK:
        if held is None:
            raise Invalid.field("#/legacy_signature/secret", "masked", "No secret is kept for this; give one.")
        given = msgspec.structs.replace(given, secret=held.secret)
    _check_name(given.header, "#/legacy_signature/header", "#/legacy_signature/header")
    try:
        legacy.check_template(given.template)
    except legacy.TemplateInvalid as error:
        raise Invalid.field("#/legacy_signature/template", "format", f"Not a template: {error}.") from None
    return given


def _check_name(name: str, unnamed: str, pointer: str) -> None:
    """Raises Invalid; at `unnamed` when the name is none that could stand in a pointer."""
    if not _NAME.fullmatch(name):
        raise Invalid.field(unnamed, "format", "That is not the name of a header.")
    if _RESERVED.fullmatch(name):
        raise Invalid.field(pointer, "reserved", f"The header {name} cannot be set.")


def _headers(wanted: Mapping[str, str], held: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Plain and secret ones. A masked value stands for the one that is kept."""
    plain: dict[str, str] = {}
    hidden: dict[str, str] = {}
    known = {name.lower(): value for name, value in held.items()}
    for name, given in wanted.items():
        pointer = f"#/headers/{name}"
        _check_name(name, "#/headers", pointer)
        if not _VALUE.fullmatch(given):
            raise Invalid.field(pointer, "format", "A header's value is printable ASCII.")
        value = known.get(name.lower(), "") if given == MASK else given
        if given == MASK:
            if not value:
                raise Invalid.field(pointer, "masked", "No value is kept for this header; give one.")
            hidden[name] = value
        elif _CREDENTIAL.search(name):
            hidden[name] = value
        else:
            plain[name] = value
    if len({name.lower() for name in wanted}) < len(wanted):
        raise Invalid.field("#/headers", "duplicate", "A header comes twice.")
    return plain, hidden
