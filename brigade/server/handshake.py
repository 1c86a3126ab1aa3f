"""The handshake of a WebSocket (RFC 6455, 4.2): checked before the connection becomes one, while it can be refused as a request."""

from collections.abc import Sequence

from websockets.exceptions import InvalidHandshake, SecurityError
from websockets.server import ServerProtocol

from brigade.headers import Header
from brigade.server.answer_heads import as_lines
from brigade.server.refusals import Refused

HANDSHAKE = {b"host", b"connection", b"upgrade"}
OUR_VERSION = b"13"
WANTED = [(b"sec-websocket-version", OUR_VERSION), (b"upgrade", b"websocket"), (b"connection", b"upgrade")]


def check_handshake(headers: Sequence[Header]) -> None:
    """
    Raises:
        Refused: The handshake has another version, lacks what RFC 6455, 4.2.1, asks of it, or has a field that is too long for
            the library, which would never answer.
    """
    versions = [value for name, value in headers if name == b"sec-websocket-version"]
    if versions and versions != [OUR_VERSION]:
        raise Refused(426, "The version of the WebSocket protocol must be 13 (RFC 6455, 4.4).", WANTED)
    handshake = ServerProtocol()
    handshake.receive_data(request_of(headers))
    if isinstance(handshake.handshake_exc, SecurityError):
        raise Refused(431, f"This handshake of a WebSocket is too large: {handshake.handshake_exc}.")
    try:
        if handshake.handshake_exc is not None:
            raise handshake.handshake_exc
        (request,) = handshake.events_received()
        handshake.process_request(request)  # type: ignore[arg-type]  # a server parses a request first
    except InvalidHandshake as error:
        raise Refused(400, f"This is no handshake of a WebSocket: {error}.") from None


def request_of(headers: Sequence[Header]) -> bytes:
    """Return the handshake as the library of WebSockets parses it once more, with what it needs of the head alone."""
    fields = [field for field in headers if _is_of_handshake(field[0])]
    return b"GET / HTTP/1.1\r\n" + as_lines(fields)


def _is_of_handshake(name: bytes) -> bool:
    return name in HANDSHAKE or name.startswith(b"sec-websocket-")
