"""What a server's replies mean: codes (RFC 5321) and enhanced codes (RFC 3463) to errors and refusals."""

import re
import ssl
from typing import Final

import aiosmtplib
from penguin_hub_sdk import Refusal, errors

_ENHANCED: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\d)")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_LONGEST: Final = 500

# Replies whose meaning is not that of their first digit. The second part names the setting at fault.
CODES: Final[dict[int, tuple[type[errors.PluginError], str | None]]] = {
    530: (errors.ConfigInvalid, "username"),  # RFC 4954: authentication required
    534: (errors.AuthExpired, None),  # RFC 4954: mechanism too weak, in practice "log in with your browser first"
    535: (errors.AuthExpired, None),
    538: (errors.ConfigInvalid, "security"),  # RFC 4954: encryption required
}
ENHANCED: Final[dict[str, type[errors.PluginError]]] = {
    "5.4.5": errors.QuotaExceeded,  # Google: daily sending limit
    "4.7.28": errors.RateLimited,  # Google: unusual rate of mail
}


def enhanced(text: str) -> str | None:
    """The enhanced status code a reply starts with."""
    found = _ENHANCED.match(text)
    return found.group() if found else None


def refusal(recipient: str, code: int, text: str) -> Refusal:
    return Refusal(recipient, clean(text), code=enhanced(text) or str(code), permanent=code >= 500)


def error_of(reply: aiosmtplib.SMTPResponseException) -> errors.PluginError:
    """A reply to MAIL, RCPT or DATA: 4yz is for now, 5yz for good."""
    code = enhanced(reply.message)
    usual = errors.Rejected if reply.code >= 500 else errors.ProviderFailed
    kind, field = CODES.get(reply.code, (ENHANCED.get(code or "", usual), None))
    if field == "username" and "STARTTLS" in reply.message.upper():
        field = "security"
    return kind(clean(f"{reply.code} {reply.message}"), code=code or str(reply.code), field=field)


def error_of_session(reply: aiosmtplib.SMTPResponseException) -> errors.PluginError:
    """A reply before any mail is on its way. A refusal for good is about us, and no fault of the message."""
    found = error_of(reply)
    if not isinstance(found, errors.Rejected):
        return found
    kind = errors.AuthExpired if isinstance(reply, aiosmtplib.SMTPAuthenticationError) else errors.NotAllowed
    return kind(found.detail, code=found.code)


def error_of_refusals(refusals: list[Refusal]) -> errors.PluginError:
    """Nobody was taken. As long as one may be taken later, the message is tried again."""
    first = next((refusal for refusal in refusals if not refusal.permanent), refusals[0])
    kind = errors.Rejected if first.permanent else errors.ProviderFailed
    return kind(f"{first.recipient}: {first.detail}", code=first.code)


def error_of_network(error: Exception, host: str) -> errors.PluginError:
    """A connection that did not come about or broke off."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return errors.NetworkFailed(f"The certificate of {host} is not trusted: {cause.verify_message}.")
        if isinstance(cause, ssl.SSLError):
            return errors.NetworkFailed(f"{host} does not speak TLS as it should here: {cause.reason}.")
        cause = cause.__cause__
    if isinstance(error, TimeoutError):
        return errors.NetworkFailed(f"{host} did not answer in time.")
    return errors.NetworkFailed(f"The connection to {host} broke off.")


def clean(text: str) -> str:
    """A server's text on one line, cut, and with every byte that was no UTF-8 replaced."""
    return _CONTROL.sub(" ", text.encode("utf-8", "replace").decode()).strip()[:_LONGEST]
