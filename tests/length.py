"""How long to look: `FUZZ=20` looks twenty times as long, as `make fuzz` does."""

import os

TIMES = int(os.environ.get("FUZZ", "1"))
