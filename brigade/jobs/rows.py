"""The SQL that is ours on the tables of PgQueuer, which `brigade/migrations` makes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

UNFINISHED = "status IN ('queued', 'picked') AND dedupe_key IS NOT NULL"

ENQUEUE = f"""
INSERT INTO pgqueuer AS job (priority, status, entrypoint, payload, execute_after, dedupe_key, headers)
VALUES (0, 'queued', $1, $2, now() + $3::interval, $4, $5::jsonb)
ON CONFLICT (dedupe_key) WHERE {UNFINISHED} DO UPDATE SET priority = job.priority
RETURNING id
"""  # noqa: S608 - of constants

# PgQueuer counts the attempts that failed; one that ended with its runner counts too, or a job that kills would go on.
START = """
UPDATE pgqueuer SET headers = coalesce(headers, '{}') || jsonb_build_object(
    'starts', coalesce((headers->>'starts')::int, 0) + 1
) WHERE id = $1 RETURNING (headers->>'starts')::int
"""
UNSTART = """
UPDATE pgqueuer SET headers = headers || jsonb_build_object('starts', (headers->>'starts')::int - 1) WHERE id = $1
"""
NOTE = "UPDATE pgqueuer SET headers = headers || jsonb_build_object('progress', $2::jsonb) WHERE id = $1"
LOOK = "SELECT status::text, headers->'progress' AS progress, headers->>'starts' AS starts FROM pgqueuer WHERE id = $1"

DEAD = """
SELECT job.id, job.entrypoint AS name, job.headers->>'starts' AS starts, job.updated,
       coalesce(log.traceback->>'exception_message', '') AS error, job.payload AS arguments, count(*) OVER () AS total
FROM pgqueuer job LEFT JOIN LATERAL (
    SELECT traceback FROM pgqueuer_log WHERE job_id = job.id AND status = 'failed' ORDER BY created DESC LIMIT 1
) log ON true
WHERE job.status = 'failed' ORDER BY job.updated DESC LIMIT 100
"""
RETRY = """
UPDATE pgqueuer SET status = 'queued', execute_after = now(), updated = now(), attempts = 0, queue_manager_id = NULL,
       headers = headers - 'starts' - 'progress'
WHERE id = $1 AND status = 'failed' RETURNING id
"""
DEPTHS = """
SELECT entrypoint, status::text, count(*) AS jobs,
       coalesce(extract(epoch FROM now() - min(execute_after) FILTER (WHERE execute_after <= now())), 0) AS oldest_s
FROM pgqueuer GROUP BY entrypoint, status
"""
FORGET = (
    "DELETE FROM pgqueuer_log WHERE created < now() - interval '7 days' "
    "AND NOT EXISTS (SELECT FROM pgqueuer WHERE id = job_id)"
)
# A clock that was ahead for a moment has set a time that is far away, and PgQueuer waits for it.
RESCHEDULE = """
UPDATE pgqueuer_schedules SET next_run = now() + $3::interval
WHERE expression = $1 AND entrypoint = $2 AND next_run > now() + $3::interval + interval '1 minute'
"""

STATES: Mapping[str, Literal["waiting", "running", "dead"]] = {
    "queued": "waiting",
    "picked": "running",
    "failed": "dead",
}


@dataclass(frozen=True)
class JobState:
    """How far a job that is not done is."""

    state: Literal["waiting", "running", "dead"]
    attempt: int
    done: int
    of: int
    """0 until the job has said."""


def state_of(row: Any) -> JobState:
    progress = orjson.loads(row["progress"] or "{}")
    return JobState(
        STATES.get(row["status"], "dead"), int(row["starts"] or 0), progress.get("done", 0), progress.get("of", 0)
    )
