"""Whether a TCP port can be listened on: asked before things start that would have to be stopped again."""

import socket


def port_fault(host: str, port: int) -> str | None:
    """Why nobody could listen on that address and port now, or None when one could."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None
