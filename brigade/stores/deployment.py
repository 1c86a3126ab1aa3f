"""The database to which a deployment's keys in Redis belong. Two databases never share the keys of one name."""

from contextlib import suppress
from typing import Any

import structlog

from brigade.errors import DatabaseUnavailable
from brigade.stores.cache import Cache
from brigade.stores.database import ANSWER_WITHIN_S, Pool, read
from brigade.stores.keys import Keys

FREE_AFTER_S = 600
"""Seconds after which a name that nobody has used is free again. No cached answer lives as long."""

# The key holds the database's identity and, after a space, the digest of the address at which it was reached.
CLAIM = """
local held = redis.pcall('GET', KEYS[1])
local identity, address -- what nobody can read is nobody's claim
if type(held) == 'string' then identity, address = string.match(held, '^(%S*) (.*)$') end
if ARGV[1] == '' then
    if not identity or address == ARGV[2] then return 1 end
    return 0
end
if identity and identity ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'EX', ARGV[3])
return 1
"""

# A standby that takes over has the same identity; a copy of the data, on another server or beside it, has another.
IDENTIFY = """
SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || oid
FROM pg_database WHERE datname = current_database()
"""

log = structlog.get_logger("service.deployment")


class Deployment:
    """The name that keys carry, and the database that the name stands for.

    The identity is unknown until Postgres has answered. Until then `address`, a digest of the database's address, has
    to do, so that a service that starts while Postgres is away goes on with the keys made from the same address.
    """

    def __init__(self, keys: Keys, *, address: str) -> None:
        self.keys = keys
        self.address = address
        self.identity = ""

    async def identify(self, connection: Any) -> None:
        """Ask the database who it is."""
        self.identity = str(await connection.fetchval(IDENTIFY))

    async def claim(self, redis: Any) -> bool:
        """Return whether the keys are this deployment's, and tell others of the same name that they are in use."""
        key = self.keys.tagged("deployment")
        return bool(await redis.eval(CLAIM, 1, key, self.identity, self.address, FREE_AFTER_S))

    async def watch(self, pg: Pool, cache: Cache) -> None:
        """Ask both stores, and keep the cache closed while its keys belong to another database."""
        with suppress(DatabaseUnavailable):
            await read(pg, self.identify, within_s=ANSWER_WITHIN_S, leaves_session_clean=True)
        is_foreign = not await cache.ask(self.claim)
        if is_foreign != cache.is_foreign:
            cache.is_foreign = is_foreign
            say = log.error if is_foreign else log.warning
            say("keys in Redis belong to another database" if is_foreign else "keys in Redis are ours", name=self.name)

    @property
    def name(self) -> str:
        return self.keys.deployment
