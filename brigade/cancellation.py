"""Tells a task that has to end from an error that only looks so: `sys.exit()`, KeyboardInterrupt, or somebody else's cancellation."""

import asyncio


def is_being_cancelled() -> bool:
    """Whether the current task itself was cancelled. It may also await something else that was."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def must_end(error: BaseException) -> bool:
    """Whether the current task has to end with this error. Any other is a failure of what the task called, of whatever class."""
    if isinstance(error, asyncio.CancelledError):
        return is_being_cancelled()
    return isinstance(error, GeneratorExit)
