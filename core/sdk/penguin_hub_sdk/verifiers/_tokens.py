"""Providers that do not sign: a password, or a word that only the two of us know."""

import base64
from typing import Any

import msgspec

from penguin_hub_sdk.verifiers._base import Declared, Refused, from_base64, header, replaced, same, setting
from penguin_hub_sdk.webhooks import InboundRequest


class BasicAuth(Declared, frozen=True, kw_only=True):
    """HTTP basic authentication: Postmark, Pipedrive."""

    user: str
    password: str

    def prove(self, request: InboundRequest, config: Any) -> None:
        expected = f"{setting(config, self.user)}:{setting(config, self.password)}"
        scheme, _, text = header(request, "authorization").partition(" ")
        if scheme.lower() != "basic":
            raise Refused("malformed")
        try:
            given = from_base64(text).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("malformed") from None
        if not same(given, expected):
            raise Refused("mismatch")

    def signed(self, request: InboundRequest, config: Any) -> InboundRequest:
        pair = f"{setting(config, self.user)}:{setting(config, self.password)}".encode()
        return replaced(request, ("authorization", f"Basic {base64.b64encode(pair).decode('ascii')}"))


class SharedToken(Declared, frozen=True, kw_only=True):
    """A word in a header (Okta, Auth0, Make) or in the JSON body (Microsoft Graph's clientState, Zoho's token)."""

    secret: str
    header: str | None = None
    prefix: str = ""
    """What stands before it in the header, such as `Bearer `."""
    body: tuple[str, ...] = ()
    """Where it stands in the body: `("token",)`; `*` is every item of a list: `("value", "*", "clientState")`. All of
    them must be right, and there must be one."""

    def __post_init__(self) -> None:
        if (self.header is None) == (not self.body):
            raise ValueError("the word stands in a header or in the body: say which")

    def prove(self, request: InboundRequest, config: Any) -> None:
        expected = setting(config, self.secret)
        if self.header is not None:
            value = header(request, self.header)
            if not value.startswith(self.prefix):
                raise Refused("malformed")
            given = [value.removeprefix(self.prefix)]
        else:
            given = self._found(request)
        if not all(same(text, expected) for text in given):
            raise Refused("mismatch")

    def signed(self, request: InboundRequest, config: Any) -> InboundRequest:
        secret = setting(config, self.secret)
        if self.header is not None:
            return replaced(request, (self.header, self.prefix + secret))
        document = _document(request)
        _put(document, self.body, secret)
        return msgspec.structs.replace(request, body=msgspec.json.encode(document))

    def _found(self, request: InboundRequest) -> list[str]:
        nodes = [_document(request)]
        for step in self.body:
            if step == "*":
                if not all(isinstance(node, list) for node in nodes):
                    raise Refused("malformed")
                nodes = [item for node in nodes for item in node]
            elif not all(isinstance(node, dict) and step in node for node in nodes):
                raise Refused("missing")
            else:
                nodes = [node[step] for node in nodes]
        if not nodes or not all(isinstance(node, str) for node in nodes):
            raise Refused("missing")
        return nodes


def _document(request: InboundRequest) -> Any:
    try:
        return msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("malformed") from None


def _put(node: Any, path: tuple[str, ...], secret: str) -> None:
    step, rest = path[0], path[1:]
    for inner in node if step == "*" else [node]:
        if step == "*":
            _put(inner, rest, secret)
        elif rest:
            _put(inner[step], rest, secret)
        else:
            inner[step] = secret
