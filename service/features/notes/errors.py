"""The errors of a note."""

from brigade import Problem


class NoteNotFound(Problem):
    status, type, title = 404, "urn:problem:note-not-found", "There is no such note"
