"""A connection that has become a WebSocket: uvicorn's own protocol with bounds, and with a word before each end."""

import asyncio
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import State

from brigade.server.handshake import request_of
from brigade.server.lifecycle import lifecycle
from brigade.server.output import LINGER_S, Output
from brigade.server.refusals import Refused, as_answer
from brigade.server.streams import ABANDONED_S, streams
from brigade.server.upgrade import TOO_EARLY

SERVICE_RESTART = 1012
"""The close code that asks a client to connect again (RFC 6455, 7.4.2, and the registry of IANA)."""
INTERNAL_ERROR, TOO_BIG, NO_TEXT, ABNORMAL = 1011, 1009, 1007, 1006

MAX_FRAMES = 1000
"""Frames of one message, at most. An empty one takes 6 bytes on the wire and more in memory."""


class WebSocket(WebSocketsSansIOProtocol):
    def __init__(self, *args: Any, scope: Any, patience_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handshake = scope
        self._patience_s = patience_s
        self.close_timeout = LINGER_S
        self._ending = False
        """We have sent a close frame and wait for the client's."""

    def begin(self, transport: asyncio.Transport) -> None:
        """Take the connection over. The head has been parsed; of it, the handshake needs some fields alone."""
        self.connection_made(transport)
        self.output = Output(transport, self.loop, transport.close, self._patience_s)
        transport.set_protocol(self)
        streams.join(self, self.tell)
        self.data_received(request_of(self._handshake["headers"]))

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated or self.conn.state is not State.CONNECTING:
            super().data_received(data)
        elif not self.handshake_complete and self.initial_response is None:
            self._refuse_handshake(Refused(400, TOO_EARLY))
            self.output.linger()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # as open as ASGI's
            scope |= {**self._handshake, "scheme": self.scheme}
            scope["extensions"]["service.close_code"] = self.close_code
        del self._handshake

    def connection_lost(self, exc: Exception | None) -> None:
        lifecycle.connections -= 1
        streams.leave(self)
        self.output.cancel()
        super().connection_lost(exc)
        del self.output
        task = getattr(self, "_task", None)
        if task is not None and not task.done():
            self.loop.call_later(ABANDONED_S, self._cancel, task)

    def _cancel(self, task: "asyncio.Task[None]") -> None:
        """Cancel what the application still does, again and again, because a library may lose a cancellation."""
        if not task.done():
            task.cancel()
            self.loop.call_later(ABANDONED_S, self._cancel, task)

    async def run_asgi(self) -> None:
        self._task, code = asyncio.current_task(), 1000
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            code = SERVICE_RESTART
            raise
        except Exception:
            code = INTERNAL_ERROR
            self.logger.exception("Exception in ASGI application\n")
        finally:
            if not self.handshake_complete:
                self.send_500_response()
                self.transport.close()
            else:
                self._send_close(code)

    # What bounds it

    async def send(self, message: Any) -> None:
        """Raise for a client that has just gone. A handler that sends without a pause would keep the loop from saying so."""
        if self.transport.is_closing():
            raise ClientDisconnected
        await super().send(message)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.output.expect_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.output.reader_took_all()

    def handle_ping(self) -> None:
        """Leave out pongs that a client asks for and does not read."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < MAX_FRAMES:
            super().handle_cont(event)
        else:
            self._refuse(TOO_BIG, f"A message may have {MAX_FRAMES} frames.")

    def send_receive_event_to_app(self) -> None:
        if not self._ending and self.curr_msg_data_type == "text" and not _is_text(self.frames):
            self._refuse(NO_TEXT, "A message of text is in UTF-8.")
        if self._ending:
            self.frames = []
        else:
            super().send_receive_event_to_app()

    def _refuse(self, code: int, reason: str) -> None:
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._send_close(code, reason)

    # Its end

    def _refuse_handshake(self, refused: Refused) -> None:
        """Answer in place of the application, for which the client has gone."""
        lifecycle.refused[refused.status] += 1
        self.transport.write(as_answer(refused, self.default_headers))
        self.handshake_complete = self.close_sent = self.disconnected = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": ABNORMAL})

    def close_code(self) -> int:
        """The code of the first close frame, of either side."""
        first = self.conn.close_rcvd if self.conn.close_rcvd_then_sent else self.conn.close_sent
        return int(first.code) if first is not None else ABNORMAL

    def tell(self) -> None:
        """The worker leaves."""
        if self.handshake_complete and not self._ending and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": SERVICE_RESTART, "reason": ""})
            self._send_close(SERVICE_RESTART)

    def _send_close(self, code: int, reason: str = "") -> None:
        """Send a close frame, and wait a moment for the client's: bytes that nobody reads would reset the connection."""
        self.stop_keepalive()
        if self._ending or self.close_sent or self.transport.is_closing() or self.conn.state is not State.OPEN:
            return
        self._ending = True
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.read_paused = False
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def shutdown(self) -> None:
        """The worker has begun to leave: `streams` tells each in its turn."""

    def cut(self) -> None:
        """The worker waits no longer."""
        if not self.handshake_complete and self.initial_response is None:
            self._refuse_handshake(Refused(503, "The server is stopping, and the handshake took too long for it."))
        self.tell()
        self.transport.close()


def _is_text(frames: Sequence[bytes]) -> bool:
    """Whether a message is in UTF-8. uvicorn would log one that is not as an error of ours, with a traceback."""
    try:
        b"".join(frames).decode()
    except UnicodeDecodeError:
        return False
    return True
