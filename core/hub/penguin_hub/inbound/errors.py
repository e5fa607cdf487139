"""What taking and showing providers' requests may raise."""

from penguin_hub.platform.errors import Conflict, NotFound, Unauthenticated


class AddressUnknown(NotFound):
    """No such connection, or it takes no requests."""

    code = "inbound_address_unknown"


class SignatureRefused(Unauthenticated):
    """The request is not proven to be the provider's: bad, missing or old signature."""

    code = "signature_invalid"


class InboundNotFound(NotFound):
    code = "inbound_request_not_found"


class BeingProcessed(Conflict):
    """A worker is at it; its outcome comes first."""

    code = "inbound_in_progress"
