"""What may keep a server from starting."""


class StartupError(Exception):
    """Something on this machine has to be put right first. The text says what, for the person at the keyboard."""
