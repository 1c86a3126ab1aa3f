"""The errors of a link."""

from brigade import Problem


class LinkNotFound(Problem):
    status, type, title = 404, "urn:problem:link-not-found", "There is no such link"


class LinkExpired(Problem):
    status, type, title = 410, "urn:problem:link-expired", "The link has expired"


class CodeTaken(Problem):
    status, type, title = 409, "urn:problem:code-taken", "The code is taken"


class UrlLeadsBack(Problem):
    status, type, title = 422, "urn:problem:url-leads-back", "The URL is itself a short link of this service"
