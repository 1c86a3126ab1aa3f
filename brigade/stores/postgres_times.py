"""Times that Postgres has and Python has not: `infinity`, and the years before 1 and after 9999.

asyncpg raises OverflowError for them, so that one such row, written by SQL, made a 500 of each list that it was in. They are
read as the nearest time that there is, and the nearest of all are written as `infinity`, so that nothing changes on the way.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

Time = TypeVar("Time", date, datetime)

AWARE, NAIVE, DAY = datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 1), date(2000, 1, 1)  # noqa: DTZ001 - of `timestamp`
"""The times from which Postgres counts."""
LAST, LAST_DAY = 2**63 - 1, 2**31 - 1
"""The numbers that stand for `infinity`; `-infinity` is the one below their negative."""
TICK = timedelta(microseconds=1)


async def read_any_time(connection: Any) -> None:
    """Let the connection read every time that Postgres has. This asks the server nothing."""
    await _translate(connection, "timestamptz", _from_aware, lambda found: _near(AWARE, found[0], TICK))
    await _translate(connection, "timestamp", _from_naive, lambda found: _near(NAIVE, found[0], TICK))
    await _translate(connection, "date", _from_day, lambda found: _near(DAY, found[0], timedelta(1)))


async def _translate(connection: Any, name: str, encode: Any, decode: Any) -> None:
    await connection.set_type_codec(name, schema="pg_catalog", encoder=encode, decoder=decode, format="tuple")


def _near(epoch: Time, count: int, unit: timedelta) -> Time:
    try:
        return epoch + count * unit
    except OverflowError:
        last, first = _ends(epoch)
        return last if count > 0 else first


def _ends(epoch: Time) -> tuple[Time, Time]:
    if isinstance(epoch, datetime):
        return epoch.max.replace(tzinfo=epoch.tzinfo), epoch.min.replace(tzinfo=epoch.tzinfo)
    return epoch.max, epoch.min


def _from_aware(value: date) -> tuple[int]:
    time = _midnight(value)
    return _infinite(time, AWARE, LAST) or ((time.astimezone(UTC) - AWARE) // TICK,)


def _from_naive(value: date) -> tuple[int]:
    time = _midnight(value)
    return _infinite(time, NAIVE, LAST) or ((time - NAIVE) // TICK,)


def _midnight(value: date) -> datetime:
    """Take a date as its beginning, as asyncpg does; TypeError is what asyncpg makes a DataError of."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - of the local zone where one is asked for
    raise TypeError(f"expected a datetime, not {type(value).__name__}")


def _from_day(value: date) -> tuple[int]:
    if not isinstance(value, date):
        raise TypeError(f"expected a date, not {type(value).__name__}")
    day = value.date() if isinstance(value, datetime) else value
    return _infinite(day, DAY, LAST_DAY) or ((day - DAY).days,)


def _infinite(value: date, epoch: date, last: int) -> tuple[int] | None:
    latest, first = _ends(epoch)
    return (last,) if value == latest else (-last - 1,) if value == first else None
