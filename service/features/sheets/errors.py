"""The errors of a sheet."""

from brigade import Problem


class SheetNotFound(Problem):
    status, type, title = 404, "urn:problem:sheet-not-found", "There is no such sheet"


class SheetNotReady(Problem):
    status, type, title = 409, "urn:problem:sheet-not-ready", "The sheet is not drawn yet"


class SheetChanged(Problem):
    status, type, title = 412, "urn:problem:sheet-changed", "The file is not the one that If-Match names"


class RangeNotSatisfiable(Problem):
    status, type, title = 416, "urn:problem:range-not-satisfiable", "The file has no such range"
