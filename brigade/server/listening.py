"""The sockets of the service: on HOST and its ports, or those that systemd passes."""

import errno
import os
import socket

from brigade.settings import ConfigurationError, Settings

FIRST_DESCRIPTOR = 3
ANY, ANY_IPV4 = "::", "0.0.0.0"


def host_of(settings: Settings) -> str:
    """`::` means every address, so on a machine without IPv6 that is every IPv4 address."""
    if settings.host == ANY:
        try:
            socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
        except OSError:
            return ANY_IPV4
    return settings.host


def name_of(settings: Settings) -> str:
    """Return a name for the folders of this service, which no other service has that runs on the same host."""
    return f"{socket.gethostname()}-{host_of(settings)}-{settings.port}".replace("/", "_")


def ports_of(settings: Settings) -> list[int]:
    return [port for port in (settings.port, settings.ops_port) if port]


def addresses(settings: Settings) -> list[str]:
    """Return the addresses in the form of Gunicorn's `bind`."""
    host = host_of(settings)
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for port in ports_of(settings)]


def handed_over() -> list[int]:
    """Descriptors of the sockets that systemd has opened for this process: sd_listen_fds(3)."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    return list(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)))


def check(settings: Settings) -> None:
    """Bind each address and release it, because Gunicorn would only retry.

    Raises:
        ConfigurationError: another process has it, it is not ours to have, or systemd has handed over something else.
    """
    if descriptors := handed_over():
        _check_handed_over(descriptors, settings)
        return
    for port in ports_of(settings):
        try:
            _bind(host_of(settings), port)
        except OSError as error:
            raise ConfigurationError(_why_not(error, settings, port)) from None
        except UnicodeError:  # of the codec for names of hosts
            raise ConfigurationError(f"HOST {settings.host!r} is no name of a host.") from None


def _check_handed_over(descriptors: list[int], settings: Settings) -> None:
    if settings.reuse_port:
        raise ConfigurationError("REUSE_PORT is on, and systemd hands over sockets that all workers share: set it off.")
    ports = []
    for descriptor in descriptors:
        with socket.socket(fileno=os.dup(descriptor)) as listener:
            name = listener.getsockname()
            ports.append(name[1] if isinstance(name, tuple) else None)
    if settings.ops_port and settings.ops_port not in ports:
        raise ConfigurationError(
            f"OPS_PORT is {settings.ops_port}, and systemd hands over no socket for it: add it to the socket unit."
        )


def _bind(host: str, port: int) -> None:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _why_not(error: OSError, settings: Settings, port: int) -> str:
    variable = "PORT" if port == settings.port else "OPS_PORT"
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} on {settings.host} is in use: stop what listens there, or set {variable} to another."
        case errno.EACCES:
            return f"{variable} {port} needs a privilege that this process lacks: set it to 1024 or more."
        case _:
            return f"HOST {settings.host!r} is not an address of this machine: {error.strerror}."
