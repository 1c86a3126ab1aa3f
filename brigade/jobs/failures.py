"""Keeps why an attempt at a job failed."""

from brigade.telemetry.rendering import printable

MOST_CHARACTERS = 2000


class AttemptFailed(Exception):
    """Why an attempt failed, in words that Postgres can keep. The log has the error itself.

    PgQueuer writes the ends of several jobs together, again and again until Postgres takes them: a NUL or half of a
    surrogate pair in one error would leave them all without an end.
    """

    @classmethod
    def by(cls, error: BaseException) -> "AttemptFailed":
        if isinstance(error, AttemptFailed):
            return error
        try:
            words = f"{type(error).__name__}: {error}"
        except Exception:  # noqa: BLE001 - its own `__str__` fails
            words = f"{type(error).__name__}, which cannot say why"
        return cls(printable(words[:MOST_CHARACTERS]))  # a terminal shows it where dead jobs are listed
