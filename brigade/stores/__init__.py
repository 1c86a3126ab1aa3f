"""Postgres and Redis. These names are public: for a feature that asks them where there is no request to depend on."""

from brigade.stores.cache import Cache
from brigade.stores.database import ANSWER_WITHIN_S, Connection, Pool, Replica, in_time
from brigade.stores.redis_client import AnyRedis, Ask, one_connection

__all__ = ["ANSWER_WITHIN_S", "AnyRedis", "Ask", "Cache", "Connection", "Pool", "Replica", "in_time", "one_connection"]
