"""`python -m local run | dev | migrate | reload`, for the Makefile."""

import errno
import os
import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules are imported there is nothing to end in order

from local import attached
from local.dev import dev
from local.process import LocalError
from local.run import run

NO_ROOM = {errno.EROFS, errno.ENOSPC, errno.EDQUOT}
COMMANDS = {"run": run, "dev": dev, "migrate": attached.migrate, "reload": attached.reload}


def main(name: str) -> int:
    _open_standard_streams()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return COMMANDS[name]()
    except LocalError as reason:
        sys.exit(str(reason))
    except KeyboardInterrupt:
        return 130
    except PermissionError as error:
        sys.exit(f"{error.filename} belongs to another user: delete it, or start as that user.")
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        sys.exit(f"A local run keeps its data in .local, which cannot be written: {error}.")


def _open_standard_streams() -> None:
    """Open those that are closed, or the lock of the run would become one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


sys.exit(main(sys.argv[1]))
