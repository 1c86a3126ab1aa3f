"""Links on the wire. Checks what comes in; decides nothing."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from service.features.links import qr
from service.features.links.store import Link
from service.features.links.urls import MAX_LENGTH, check_url

MOST_NAMES = 20
CODE_PATTERN = "^[A-Za-z0-9_-]{4,32}$"


def _is_timestamp(value: Any) -> Any:
    if value is not None and not (isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]", value)):
        raise ValueError("must be a timestamp such as 2030-01-31T12:00:00Z")  # pydantic would also take a number
    return value


def _is_in_future(value: datetime) -> datetime:
    try:
        utc = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be before the year 10000") from None
    if utc <= datetime.now(UTC):
        raise ValueError("must be in the future")
    return utc


Code = Annotated[str, Field(pattern=CODE_PATTERN, examples=["summer-sale"])]
TargetUrl = Annotated[
    str,
    Field(
        max_length=MAX_LENGTH,
        json_schema_extra={"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"},  # for readers; `check_url` says it in words
        description="An absolute http or https URL; the short link leads to exactly this.",
        examples=["https://example.com/a/long/path?with=parameters#and-more"],
    ),
    AfterValidator(check_url),
]
Expiry = Annotated[AwareDatetime, BeforeValidator(_is_timestamp), AfterValidator(_is_in_future)]


class NewLink(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: TargetUrl
    code: Code | None = Field(None, description="A code of your own choice; without it the link gets a random one.")
    expires_at: Expiry | None = Field(
        None, description="When the link stops leading anywhere, with a time zone.", examples=["2099-12-31T23:59:59Z"]
    )

    @model_validator(mode="before")
    @classmethod
    def _is_brief(cls, value: Any) -> Any:
        """A body of 1 MB has room for 90,000 unknown names: 2 s of the event loop, and an answer of 10 MB."""
        if isinstance(value, dict) and len(value) > MOST_NAMES:
            raise ValueError(f"must be a link, and none has {MOST_NAMES} fields")
        return value


class ShortLink(BaseModel):
    code: str
    url: str
    short_url: str
    created_at: datetime
    expires_at: datetime | None
    clicks: int = Field(description="Redirects answered so far; the last second's may be missing.")

    @classmethod
    def of(cls, link: Link, *, base: str) -> "ShortLink":
        """`base` ends with a slash."""
        return cls(
            code=link.code,
            url=link.url,
            short_url=f"{base}r/{link.code}",
            created_at=link.created_at,
            expires_at=link.expires_at,
            clicks=link.clicks,
        )


class LinkPage(BaseModel):
    items: list[ShortLink]
    next: int | None = Field(description="What to give as `after` for the page that follows; null on the last one.")


class DrawingQuery(BaseModel):
    format: qr.Format = qr.Format.SVG
    scale: int = Field(10, ge=1, le=40, description="Pixels along a module, the smallest square of the code.")
    error: qr.ErrorLevel = Field(qr.ErrorLevel.M, description="How much may be unreadable: 7, 15, 25 or 30 %.")
