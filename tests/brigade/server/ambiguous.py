# ruff: noqa: E501 - tables
"""Requests that two readers may take for different ones: the classes of request smuggling, made from small tables.

In each, `/smuggled` stands where no reading that the RFCs allow finds a request, and `/second` where they find one.
"""

from collections.abc import Iterator
from itertools import product

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /first HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

CODINGS = [
    *(b"Transfer-Encoding:%s\r\n" % value for value in (
        b" chunked", b"chunked", b" Chunked", b"\tchunked", b" chunked ", b" xchunked", b" chunked, identity", b" identity, chunked",
        b" identity", b" gzip, chunked", b" chunked, chunked", b" chunked, gzip", b" chunked;q=1", b" 'chunked'", b' "chunked"', b" \x0bchunked",
        b" chunked\x0b", b" chunked\0", b" \xa0chunked", b"", b" ,chunked", b" chunked,", b" cow", b"\r\n chunked", b"\n chunked", b" chunked\r",
    )),
    *(b"%s: chunked\r\n" % name for name in (
        b"Transfer-Encoding ", b"Transfer-Encoding\t", b" Transfer-Encoding", b"\tTransfer-Encoding", b"Transfer-Encoding\0", b"Transfer-Encoding\xa0",
        b"TRANSFER-ENCODING", b"X: y\nTransfer-Encoding", b"X: y\rTransfer-Encoding", b"X: y\r\n Transfer-Encoding",
        b":Transfer-Encoding", b"Transfer-Encoding: identity\r\nTransfer-Encoding", b"Transfer-Encoding: chunked\r\nTransfer-Encoding",
    )),
]  # fmt: skip

LENGTHS = [
    *(b"Content-Length:%s\r\n" % value for value in (
        b" 0", b" %d", b"%d", b"\t%d", b" %d ", b" 0%d", b" +%d", b" -%d", b" %d, %d", b" %d,0", b" 0, %d", b" %d %d", b" 0x%x", b" %d.0", b" %de0",
        b" %d;", b" \x0b%d", b" %d\0", b" %d\r", b"", b" 1844674407370955161%d", b" 1%d", b"\r\n %d", b"\n %d", b" _%d", b' "%d"',
        b" %d\r\nContent-Length: %d", b" %d\r\nContent-Length: 0", b" 0\r\nContent-Length: %d", b" 0\r\ncontent-length: %d",
    )),
    *(b"%s: %%d\r\n" % name for name in (
        b"Content-Length ", b"Content-Length\t", b" Content-Length", b"Content-Length\0", b"X: y\nContent-Length",
        b"X: y\rContent-Length", b"X: y\r\n Content-Length", b":Content-Length", b"Content-Length\xa0",
    )),
]  # fmt: skip

GOOD_BODIES = [
    b"5\r\nhello\r\n0\r\n\r\n", b"05\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\n\r\n", b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', b"A\r\n0123456789\r\n00\r\n\r\n",
    b"5\r\nhello\r\n0;x\r\n\r\n", b"5\r\nhello\r\n0\r\nTrailer: a\r\n\r\n", b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
    b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
]  # fmt: skip
BAD_BODIES = [
    *(b"%s\r\nhello\r\n0\r\n\r\n" % size for size in (
        b"0x5", b"+5", b"-5", b" 5", b"5_", b"", b"g", b"5;\0", b"5;a\nb", b"5;a\rb", b"ffffffffffffffff5", b"10000000000000005", b"5,5", b"5.0", b"\x0b5",
    )),
    *(b"5%shello\r\n0\r\n\r\n" % end for end in (b"\n", b"\r", b"\rX\n", b"\n\r", b";a\n")),
    *(b"5\r\nhello%s0\r\n\r\n" % end for end in (b"\n", b"\r", b"", b"XX", b"\r\r\n", b"\n\n")),
    *(b"5\r\nhello\r\n0%s" % end for end in (b"\n\n", b"\r\n\n", b"\r\r", b"\r\n: \r\n\r\n", b"\r\nA b: c\r\n\r\n", b"\r\n A: b\r\n\r\n")),
    b"5\r\nhel\r\n0\r\n\r\n", b"3\r\nhello\r\n0\r\n\r\n",
]  # fmt: skip

GOOD_FIELDS = [
    b"Connection: content-length\r\n", b"Connection: transfer-encoding\r\n", b"Connection: host\r\n", b"Connection: keep-alive\r\n", b"TE: trailers, chunked\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n", b"Upgrade: h2c\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n", b"Content-Type: multipart/form-data; boundary=x\r\n", b"X-HTTP-Method-Override: GET\r\n",
]  # fmt: skip

HEADS = [
    *(b"%s\r\nHost: a\r\n" % line for line in (
        b"GET /first HTTP/1.2", b"GET /first HTTP/2.0", b"GET /first HTTP/0.9", b"GET /first", b"GET /first HTTP/1.1 ", b"GET  /first HTTP/1.1", b"GET\t/first\tHTTP/1.1",
        b"GET /first http/1.1", b" GET /first HTTP/1.1", b"GET /first HTTP/01.1", b"GET /first HTTP/1.10", b"GET /fi rst HTTP/1.1", b"GET /first\0 HTTP/1.1",
        b"GET /first HTTP/1.1\n", b"GET /first HTTP/1.1\r", b"GE T /first HTTP/1.1", b"G\0T /first HTTP/1.1", b"GET first HTTP/1.1", b"GET * HTTP/1.1",
        b"CONNECT /first HTTP/1.1", b"CONNECT a:80 HTTP/1.1", b"GET /first#x HTTP/1.1", b"GET http://u@a/first HTTP/1.1", b"PRI * HTTP/2.0",
    )),
    *(b"GET /first HTTP/1.1\r\n%s" % fields for fields in (
        b"", b"Host: a\r\nHost: b\r\n", b"Host: a, b\r\n", b"Host: a b\r\n", b"Host: a/b\r\n", b"Host: a@b\r\n", b"Host : a\r\n", b"Host: a\n", b"Host: a\r",
        b"Host: a\r\nX\r\n", b"Host: a\r\n: x\r\n", b"Host: a\r\nX y: z\r\n", b"Host: a\r\nX: y\r\n z\r\n", b"Host: a\r\nX: y\0\r\n", b"\r\n Host: a\r\n", b" Host: a\r\n",
    )),
]  # fmt: skip


def cases() -> Iterator[bytes]:
    """All of them, each with what follows on the same connection."""
    chunks, size = b"0\r\n\r\n" + SMUGGLED, len(SMUGGLED)
    for coding in CODINGS:
        yield POST + b"Content-Length: %d\r\n%s\r\n%s" % (len(chunks), coding, chunks)  # CL.TE
        yield POST + b"%sContent-Length: 4\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (coding, size, SMUGGLED)  # TE.CL
        yield POST.replace(b"1.1", b"1.0") + b"%s\r\n%s" % (coding, chunks)
    for method, length in product((b"POST", b"GET"), LENGTHS):
        filled = length.replace(b"%x", b"%x" % size).replace(b"%d", b"%d" % size)
        is_zero = length == b"Content-Length: 0\r\n"
        yield POST.replace(b"POST", method) + filled + b"\r\n" + (SECOND if is_zero else SMUGGLED)
    for body in GOOD_BODIES:
        yield POST + CHUNKED + b"\r\n" + body + SECOND
    for body in BAD_BODIES:
        yield POST + CHUNKED + b"\r\n" + body + SMUGGLED
    for method, fields in product((b"POST", b"GET", b"PUT", b"DELETE", b"OPTIONS"), GOOD_FIELDS):
        head = POST.replace(b"POST", method) + fields
        yield head + b"Content-Length: %d\r\n\r\n%s%s" % (size, SMUGGLED, SECOND)
        yield head + CHUNKED + b"\r\n%x\r\n%s\r\n0\r\n\r\n%s" % (size, SMUGGLED, SECOND)
    for head in HEADS:
        yield head + b"Content-Length: %d\r\n\r\n%s" % (size, SMUGGLED)
    yield SECOND * 3
    yield b"\r\n\r\n" + SECOND
    yield SECOND.replace(b"/second", b"http://a/second")
    yield SECOND.replace(b"Host: a", b"Host: a\r\nConnection: close") + SMUGGLED
