"""Makes the secrets that deploy/compose.production.yml reads, each in a file. Never writes over one that is there.

Of the first API key the file holds the SHA-256; the key itself is printed, once.
"""

import hashlib
import os
import sys
from pathlib import Path
from secrets import token_urlsafe

FOLDER = Path(os.environ.get("SECRETS_DIR") or Path(__file__).parent / "secrets")


def make_secrets(key: str) -> dict[str, str]:
    postgres, redis = token_urlsafe(32), token_urlsafe(32)
    return {
        "postgres_password": postgres,
        "database_url": f"postgresql://brigade:{postgres}@postgres:5432/brigade",
        "redis_auth": f"requirepass {redis}",
        "redis_url": f"redis://:{redis}@redis:6379/0",
        "api_keys": f"first:sha256:{hashlib.sha256(key.encode()).hexdigest()}",
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    FOLDER.chmod(0o700)  # also where somebody has made it already
    if any(FOLDER.iterdir()):
        sys.exit(f"{FOLDER} is not empty: a new Postgres password would not open the old database.")
    key = token_urlsafe(32)
    for name, value in make_secrets(key).items():
        # The folder is closed to others; inside the containers the users have numbers of their own.
        (FOLDER / name).write_text(value + "\n")
        (FOLDER / name).chmod(0o444)
    print(f"{FOLDER}: " + ", ".join(sorted(path.name for path in FOLDER.iterdir())))
    print(f"The API key 'first', which is written nowhere else: {key}")


main()
