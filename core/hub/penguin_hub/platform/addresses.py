"""E-mail addresses: checked, and in the form in which two spellings of one mailbox are equal."""

from email_validator import EmailNotValidError, validate_email

from penguin_hub.platform.errors import Invalid


def email(value: str, pointer: str) -> tuple[str, str]:
    """The address as it is shown, and its key (lower case, domain in ASCII form) for look-ups.

    Syntax by RFC 5321/5322 and 6531 without quoted local parts and domain literals, which no provider takes. Raises
    Invalid at `pointer`. Asks no DNS: whether a domain takes mail is the provider's to find out.
    """
    try:
        found = validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise Invalid.field(pointer, "format", f"Not an e-mail address: {error}") from error
    return found.normalized, f"{found.local_part}@{found.ascii_domain}".lower()
