"""`python -m service`: see `brigade.cli`."""

import sys

from brigade.cli import main

sys.exit(main())
