"""The dependency `Http`. It is apart from `brigade.deps`, because to import it loads the HTTP client."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from brigade.deps import resources_of
from brigade.errors import UpstreamFailure, UpstreamTimeout, UpstreamUnavailable
from brigade.outgoing.client import HttpClient
from brigade.web.problems import may_raise


@may_raise(UpstreamTimeout, UpstreamFailure, UpstreamUnavailable)
async def get_http(request: HTTPConnection) -> HttpClient:
    return resources_of(request.app).http


Http = Annotated[HttpClient, Depends(get_http)]
