"""The PenguinMails Integration Hub: the application. Plugins never import it; they import `penguin_hub_sdk`."""

__version__ = "0.1.0"
