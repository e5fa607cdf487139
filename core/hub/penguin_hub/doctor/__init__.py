"""Is this machine fit to run a hub, and are its servers? Each check says what it found and what to do."""

from penguin_hub.doctor.checks import Finding, examine

__all__ = ["Finding", "examine"]
