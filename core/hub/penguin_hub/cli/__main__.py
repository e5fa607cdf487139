"""`python -m penguin_hub.cli`: how the hub starts its own processes, wherever `penguin` is installed."""

import sys

from penguin_hub.cli import main

sys.exit(main())
