"""Errors that are for the person at the keyboard, as one sentence. Any other is a fault of ours and keeps its trace."""

import errno
import sys

from penguin_hub.platform.embedded.errors import StartupError
from penguin_hub.platform.errors import SettingsError

_SYSTEM = {
    errno.ENOSPC: "The disk is full: free some space and try again.",
    errno.EDQUOT: "The disk quota is used up: free some space and try again.",
    errno.EROFS: "The disk is read-only: choose another folder.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n) and try again.",
    errno.ENOMEM: "There is too little memory: free some and try again.",
}


def explain(error: Exception) -> str | None:
    """The sentence for an error, or None for one that nobody foresaw."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:  # as task groups raise them
        error = error.exceptions[0]
    if isinstance(error, StartupError | SettingsError):
        return str(error)
    if isinstance(error, OSError):
        return _of_system(error)
    return _of_hub(error)


def _of_system(error: OSError) -> str | None:
    if error.errno in _SYSTEM:
        return _SYSTEM[error.errno]
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename} may not be used by this user: give it the right to, or start as its owner."
    return None


def _of_hub(error: Exception) -> str | None:
    # These modules are imported by whoever raised; an error of a module that is not loaded is none of its own.
    errors = sys.modules.get("penguin_hub.platform.errors")
    if errors is not None and isinstance(error, errors.HubError):
        return str(error.detail)
    migrate = sys.modules.get("penguin_hub.migrate")
    if migrate is not None and isinstance(error, migrate.MigrationFailed):
        return str(error)
    return None
