"""Links as HTTP. No SQL and no Redis."""

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from brigade import (
    Cache,
    CacheUnavailable,
    ContentTooLarge,
    DatabaseUnavailable,
    InvalidRequest,
    Lane,
    LaneFull,
    MalformedBody,
    Pg,
    SettingsDep,
    TooManyRequests,
    Unauthorized,
    documented,
    limit_address,
    location,
    require_key,
    resources_of,
)
from brigade.hot import ATTEMPT, HotRoute, Shortcut, answer, is_known, served_by
from service.features.links import metrics, qr, store
from service.features.links.cache import Target, bury_target
from service.features.links.errors import CodeTaken, LinkExpired, LinkNotFound, UrlLeadsBack
from service.features.links.lifespan import State, lifespan
from service.features.links.making import Maker
from service.features.links.previews import is_preview
from service.features.links.resolve import Resolver
from service.features.links.schemas import Code, DrawingQuery, LinkPage, NewLink, ShortLink
from service.features.links.urls import leads_under
from service.settings import Settings

MAX_ID = 2**63 - 1
FOR_EVER = "public, max-age=31536000, immutable"

router = APIRouter(tags=["links"], lifespan=lifespan)
with_key = [Depends(require_key)]


def base_of(request: Request) -> str:
    """Return the base of short links, with a slash at its end: `PUBLIC_URL`, or the address that the client used."""
    settings = resources_of(request.app).settings
    assert isinstance(settings, Settings)
    return f"{str(settings.public_url).rstrip('/')}/" if settings.public_url else location(request, "")


CodeInPath = Annotated[Code, Path(description="The code of a link.")]


def refuse_own(url: str, *, bases: set[str]) -> None:
    if any(leads_under(url, f"{base}r/") for base in bases):
        raise UrlLeadsBack("A short link may not lead to another one.")


@router.post(
    "/links",
    status_code=201,
    dependencies=with_key,
    responses={
        201: {"headers": {"Location": {"description": "The address of the link.", "schema": {"type": "string"}}}},
        **documented(
            MalformedBody,
            Unauthorized,
            CodeTaken,
            ContentTooLarge,
            InvalidRequest,
            UrlLeadsBack,
            TooManyRequests,
            DatabaseUnavailable,
        ),
    },
)
async def create_link(new: NewLink, request: Request, response: Response) -> ShortLink:
    """Make a short link. It leads to exactly the URL that was sent."""
    base = base_of(request)
    refuse_own(new.url, bases={base, location(request, "")})
    maker: Maker = request.state.maker
    link = await maker.make(url=new.url, code=new.code, expires_at=new.expires_at)
    response.headers["Location"] = f"{base}links/{link.code}"
    return ShortLink.of(link, base=base)


@router.get(
    "/links",
    dependencies=with_key,
    responses=documented(Unauthorized, InvalidRequest, TooManyRequests, DatabaseUnavailable),
)
async def list_links(
    pg: Pg,
    request: Request,
    after: Annotated[int | None, Query(ge=1, le=MAX_ID, description="The `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> LinkPage:
    """List links, the newest first. Links that are made meanwhile neither move nor repeat others."""
    links = await store.read_page(pg, after=after, limit=limit + 1)
    page, base = links[:limit], base_of(request)
    return LinkPage(items=[ShortLink.of(link, base=base) for link in page], next=page[-1].id if links[limit:] else None)


@router.get(
    "/links/{code}",
    responses=documented(LinkNotFound, InvalidRequest, TooManyRequests, DatabaseUnavailable),
)
async def read_link(code: CodeInPath, request: Request) -> ShortLink:
    """Read a link and its clicks, also when it has expired."""
    await limit_address(request)  # as a dependency it would take 11 µs, with and without a limit
    resolver: Resolver = request.state.resolver
    return ShortLink.of(await resolver.read(code), base=base_of(request))


@router.delete(
    "/links/{code}",
    status_code=204,
    dependencies=with_key,
    responses=documented(
        Unauthorized, LinkNotFound, InvalidRequest, TooManyRequests, DatabaseUnavailable, CacheUnavailable
    ),
)
async def delete_link(code: CodeInPath, pg: Pg, cache: Cache, settings: SettingsDep) -> None:
    """Delete a link. When this has been answered, no worker redirects by it any more."""
    await bury_target(cache, code, worker_timeout_s=settings.worker_timeout_s)
    if not await store.delete_link(pg, code=code):
        raise LinkNotFound(f"No link has the code {code!r}.")


def look_up(scope: Scope) -> "asyncio.Future[Target | None] | None":
    links: State = scope["state"]
    return links["resolver"].look_up(scope["path_params"]["code"])


def lead(scope: Scope, target: Target) -> Message:
    headers = [(b"location", target.location)]
    if scope["method"] != "GET":
        return answer(307, headers)
    if is_preview(scope["headers"]):
        headers.append((b"cache-control", b"no-store"))  # a visit that follows asks again, and is counted
        return answer(307, headers, before=metrics.count_preview)
    links: State = scope["state"]
    return answer(307, headers, before=partial(links["clicks"].count, target.id))


def lead_at_once(scope: Scope, target: Target | None) -> Message | None:
    return lead(scope, target) if target is not None and target.is_open() else None


async def redirect(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    links: State = scope["state"]
    await send(lead(scope, await links["resolver"].resolve(scope["path_params"]["code"], scope.get(ATTEMPT))))


@served_by(Shortcut(look_up, lead_at_once, otherwise=redirect))
async def follow_link(code: CodeInPath) -> None:
    """Follow a short link. A GET that is answered with the redirect is a click.

    Prefetches, previews and crawlers are led as well, and counted apart.
    """
    raise NotImplementedError(code)  # the signature is for OpenAPI


router.add_api_route(
    "/r/{code}",
    follow_link,
    methods=["GET"],
    status_code=307,
    response_class=RedirectResponse,
    response_description="Where the link leads, in `Location`",
    responses=documented(LinkNotFound, LinkExpired, DatabaseUnavailable),
    route_class_override=HotRoute,
)


async def order_drawing(
    code: CodeInPath,
    query: Annotated[DrawingQuery, Query()],
    request: Request,
    if_none_match: Annotated[list[str] | None, Header()] = None,
) -> qr.Drawing:
    """Return what to draw, unless the client already has it."""
    await limit_address(request)
    await request.state.resolver.resolve(code)
    drawing = qr.Drawing(text=f"{base_of(request)}r/{code}", **query.model_dump())
    if is_known(", ".join(if_none_match or ()), drawing.etag):
        raise HTTPException(304, headers=_caching(drawing))
    return drawing


@router.get(
    "/links/{code}/qr",
    response_class=Response,
    responses={
        200: {"content": {kind: {"schema": {"type": "string"}} for kind in qr.MEDIA_TYPES.values()}},
        304: {"description": "The client has it already"},
        **documented(LinkNotFound, LinkExpired, InvalidRequest, TooManyRequests, DatabaseUnavailable, LaneFull),
    },
)
async def render_qr(drawing: Annotated[qr.Drawing, Depends(order_drawing)], lane: Lane, request: Request) -> Response:
    """Draw the QR code of a short link. It never changes, so caches may keep it without limit."""
    drawn: qr.Drawn = request.state.drawn
    image = drawn.get(drawing)
    if image is None:
        image = await lane.run(qr.draw, drawing)
        drawn.keep(drawing, image)
    return Response(image, media_type=qr.MEDIA_TYPES[drawing.format], headers=_caching(drawing))


def _caching(drawing: qr.Drawing) -> dict[str, str]:
    return {"ETag": drawing.etag, "Cache-Control": FOR_EVER}
