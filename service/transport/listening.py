"""Socket that the server listens on."""

import socket

from artifact.text import shown
from service.problems.errors import AddressError

_SEND_BUFFER = 262_144


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a bound socket that does not listen yet, so connections are refused until the server or `answering`
    listens.

    Args:
        host: address or name.
        port: port; 0 for a free one.
        shared: whether other shared sockets may have the same port; the system distributes connections.

    Raises:
        AddressError: the address is not available.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # a restart need not wait for old connections
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Inherited by connections: the system would buffer 4 MB of responses for each client that does not read.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host, such as "a..b"
        why = getattr(error, "strerror", None) or error
        raise AddressError(
            f"cannot listen on {shown(host)} port {port}: {why}; choose another --host or --port"
        ) from error
    return listener
