"""What may go wrong with connections."""

from penguin_hub.platform.errors import Conflict, Invalid, NotFound, PreconditionFailed, Unavailable


class ConnectionNotFound(NotFound):
    code = "connection_not_found"


class ConnectionChanged(PreconditionFailed):
    code = "connection_changed"


class ConnectionBusy(Conflict):
    """Somebody else changed it while this change was being checked; nothing of this one was kept."""

    code = "connection_busy"


class ConnectionDisabled(Conflict):
    """The tenant has switched it off."""

    code = "connection_disabled"


class BuiltIn(Conflict):
    """The tenant's own connection for test keys is neither made, changed nor removed by hand."""

    code = "built_in_connection"


class CheckFailed(Invalid):
    """The provider did not accept the configuration. `kind` says what kind of error, `provider_code` is its own."""

    code = "connection_check_failed"


class PluginFailed(Unavailable):
    """The plugin itself is at fault; `incident` is what the operator finds it under."""

    code = "plugin_failed"


class NotForEmail(Invalid):
    """The connection that was asked for does not send mail."""

    code = "connection_not_for_email"


class NotADestination(Conflict):
    """The connection takes no events."""

    code = "connection_not_a_destination"


class ConnectionInactive(Invalid):
    """The connection that was asked for cannot be used now; `status` says why."""

    code = "connection_inactive"


class NoEmailConnection(Invalid):
    """The tenant has no active connection that sends mail of this stream."""

    code = "no_email_connection"


class NoSimulator(Unavailable):
    """No plugin is installed that carries what test keys send."""

    code = "test_mode_unavailable"
