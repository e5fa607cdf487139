"""Declarative verifiers: how each provider proves that a request is its own.

    verify = Hmac(secret="signing_secret", header="x-slack-signature", prefix="v0=",
                  timestamp_header="x-slack-request-timestamp", message=("v0:", TIMESTAMP, ":", BODY))

A verifier names the configuration's fields; it holds no secret itself. The rules are stricter than most providers' own
packages: a timestamp counts in both directions and only in its canonical spelling, a header that comes twice is no
header, and whatever the bytes are, the only thing raised is SignatureInvalid, whose `code` says what was wrong:
`unconfigured missing malformed stale mismatch`.
"""

from penguin_hub_sdk.verifiers._base import BODY, METHOD, SECRET, TIMESTAMP, URL, URL_DECODED, Fetch, verify
from penguin_hub_sdk.verifiers._hmac import Digest, Hmac, MailgunSignature, StandardWebhooks
from penguin_hub_sdk.verifiers._keys import Ecdsa, GooglePush, Sns
from penguin_hub_sdk.verifiers._tokens import BasicAuth, SharedToken

__all__ = [
    "BODY",
    "METHOD",
    "SECRET",
    "TIMESTAMP",
    "URL",
    "URL_DECODED",
    "BasicAuth",
    "Digest",
    "Ecdsa",
    "Fetch",
    "GooglePush",
    "Hmac",
    "MailgunSignature",
    "SharedToken",
    "Sns",
    "StandardWebhooks",
    "verify",
]
