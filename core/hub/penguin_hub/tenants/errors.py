"""What may go wrong with tenants, users and sessions."""

from penguin_hub.platform.errors import Conflict, Invalid, NotFound, Unauthenticated


class TenantNotFound(NotFound):
    code = "tenant_not_found"


class WrongLogin(Unauthenticated):
    """No such user, or another password: the two look alike."""

    code = "wrong_login"


class SeveralTenants(Conflict):
    """The address and password fit users of several tenants; `tenants` lists them, and `tenant` chooses."""

    code = "several_tenants"


class InvalidSession(Unauthenticated):
    """The session has ended, or never was."""

    code = "invalid_session"


class BadPassword(Invalid):
    """Too short or too long for a password."""

    code = "bad_password"
