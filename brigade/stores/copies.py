"""The copies of the service that share one Postgres: each gives signs of life in Redis. Opens nothing."""

import socket
from typing import Any

from brigade.stores.keys import Keys

SILENT_S = 5
"""A copy of which nothing was heard for so long is gone. Its workers give a sign once a second."""

# By the clock of Redis, as copies may run on machines that disagree.
SIGN = """
local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""


async def sign(redis: Any, keys: Keys) -> int:
    """Say that this copy lives; how many do, this one included."""
    return int(await redis.eval(SIGN, 1, keys.tagged("workers", "copies"), socket.gethostname(), SILENT_S))
