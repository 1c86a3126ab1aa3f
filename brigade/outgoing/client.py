"""The client for other services: one for each worker, with a deadline, retries and a breaker around aiohttp."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import structlog
from yarl import URL

from brigade.errors import UpstreamFailure, UpstreamTimeout, UpstreamUnavailable
from brigade.outgoing.answer import Answer
from brigade.outgoing.deadline import cut_to_request
from brigade.outgoing.hosts import Host, Hosts
from brigade.outgoing.wire import Connector, has_broken_off, read_address
from brigade.settings import Settings
from brigade.telemetry import tracing
from brigade.telemetry.log_throttle import LogThrottle
from brigade.telemetry.logs import request_id

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110, 9.2.2."""
OVERLOADED = frozenset({502, 503, 504})
"""Statuses that say that the host itself has no answer."""
RETRIES = 2
FIRST_WAIT_S = 0.05
"""Up to this before the first retry, and up to twice as long before the next."""
MAX_ANSWER_BYTES = 10_485_760

log = structlog.get_logger("service.outgoing")
_throttle = LogThrottle()


@dataclass
class Call:
    method: str
    url: URL
    options: dict[str, Any]
    max_bytes: int
    queued_s: float = 0.0
    """How long it has waited for one of our own connections, which says nothing about the host."""


class HttpClient:
    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.http_timeout_s
        self._patience_s = min(settings.http_timeout_s, settings.request_timeout_s / 2)
        """A host that is silent for this long has failed. A caller that leaves sooner says nothing about the host."""
        self._hosts = Hosts(settings.http_connections)
        self._session = aiohttp.ClientSession(
            # The limit is for each host, so that a host that hangs never takes the connections of another.
            connector=Connector(limit=0, limit_per_host=settings.http_connections, ttl_dns_cache=30),
            cookie_jar=aiohttp.DummyCookieJar(),  # the requests of all users share this client
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the deadline of the call bounds it all
        )

    async def close(self) -> None:
        await self._session.close()

    async def request(  # noqa: PLR0913 - each by its name
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        body: bytes | None = None,
        timeout_s: float | None = None,
        retries: int = RETRIES,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """Ask another service. `timeout_s` includes retries and waits, and is cut to what the current request has left.

        Idempotent methods are sent again, `retries` times at most, if the host closes the connection or answers 502, 503
        or 504 without `Retry-After`. Redirects are not followed.

        Raises:
            UpstreamTimeout: There was no answer in time (504).
            UpstreamFailure: The host refused, broke off, has a certificate that cannot be verified, or said too much (502).
            UpstreamUnavailable: The host failed repeatedly and is left alone for a moment (503).
        """
        method, address = method.upper(), read_address(url)
        sent = _headers(headers)
        if json is not None:
            body = orjson.dumps(json)
            sent.setdefault("Content-Type", "application/json")
        options = {"params": params, "headers": sent, "data": body, "allow_redirects": False}
        host = self._hosts.of(f"{address.host}:{address.port}")
        limit_s = cut_to_request(self._timeout_s if timeout_s is None else timeout_s)
        again = retries if method in IDEMPOTENT else 0
        return await self._bounded(host, Call(method, address, options, max_bytes), limit_s, again)

    async def get(self, url: str, **options: Any) -> Answer:
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Any) -> Answer:
        return await self.request("POST", url, **options)

    async def _bounded(self, host: Host, call: Call, limit_s: float, retries: int) -> Answer:
        began_s = time.perf_counter()
        if limit_s <= 0:  # no fault of the host
            host.stats.ended("timed_out", began_s)
            raise UpstreamTimeout("No time is left to ask another service.")
        is_trial = host.breaker.is_open
        if not host.breaker.allows():
            host.stats.ended("refused", began_s)
            raise UpstreamUnavailable("Another service failed repeatedly and is left alone for a moment.")
        host.called()
        try:
            async with asyncio.timeout(limit_s):
                with tracing.calling(call.method, host.name) as carrier:
                    call.options["headers"] = carrier | call.options["headers"]
                    answer = await self._repeated(host, call, retries)
        except TimeoutError as error:
            if limit_s - call.queued_s >= self._patience_s:
                _failed(host, error)
            elif is_trial:
                host.breaker.undecided()
            host.stats.ended("timed_out", began_s)
            queued = f", of which all HTTP_CONNECTIONS were in use for {call.queued_s:.3g} s" if call.queued_s else ""
            raise UpstreamTimeout(f"Another service did not answer within {limit_s:.3g} s{queued}.") from error
        except (aiohttp.ClientError, UpstreamFailure) as error:
            if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
                raise
            host.stats.ended("failed", began_s)
            if isinstance(error, UpstreamFailure):
                raise
            _failed(host, error)
            raise UpstreamFailure("Another service did not answer as HTTP asks for.") from error
        finally:
            tracing.note("http", began_s)
        host.stats.ended("answered", began_s)
        if answer.status not in OVERLOADED:
            host.breaker.succeeded()
        return answer

    async def _repeated(self, host: Host, call: Call, retries: int) -> Answer:
        for attempt in range(retries):
            try:
                answer = await self._once(host, call)
                if answer.status not in OVERLOADED or "Retry-After" in answer.headers or not host.may_retry():
                    break
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
                if not has_broken_off(error) or not host.may_retry():
                    raise
            host.breaker.failed()
            await asyncio.sleep(random.random() * FIRST_WAIT_S * 2**attempt)  # noqa: S311 - keeps no secret
        else:
            answer = await self._once(host, call)
        if answer.status in OVERLOADED:
            host.breaker.failed()
        return answer

    async def _once(self, host: Host, call: Call) -> Answer:
        if host.free.locked():
            await _queue(host, call)
        else:
            await host.free.acquire()
        try:
            async with self._session.request(call.method, call.url, **call.options) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > call.max_bytes:
                        raise UpstreamFailure(f"Another service answered with more than {call.max_bytes} bytes.")
                return Answer(response.status, response.headers, bytes(body))
        finally:
            host.free.release()


async def _queue(host: Host, call: Call) -> None:
    began_s = time.perf_counter()
    try:
        await host.free.acquire()
    finally:
        call.queued_s += time.perf_counter() - began_s


def _headers(own: Mapping[str, str] | None) -> dict[str, str]:
    """Add the id of the current request, unless the caller sends one."""
    identifier = request_id.get()
    return {**({} if identifier == "-" else {"X-Request-ID": identifier}), **(own or {})}


def _failed(host: Host, error: BaseException) -> None:
    host.breaker.failed()
    if (left_out := _throttle.admit(host.stats.label)) is not None:
        log.warning("another service failed", host=host.name, error=repr(error)[:300], left_out=left_out)
