"""Whether a TCP port can be listened on: asked before things start that would have to be stopped again."""

import socket

from ohmstead.core.errors import StartupError


def refused(host: str, port: int, fault: str, *, setting: str = "OHMSTEAD_PORT") -> StartupError:
    """The error for a port that cannot be listened on; `setting` names where the port came from."""
    if any(words in fault for words in ("name", "assign", "address family")):
        hint = f"{host} is no address of this machine: check OHMSTEAD_HOST (or --host)."
    else:
        other = f"--port {port % 65535 + 1}" if setting == "OHMSTEAD_PORT" else setting
        hint = f"Stop the program that has the port, or choose another with {other}."
        if "permission" in fault:
            hint = f"Ports below 1024 are for root: choose another with {other}, or put a proxy before it."
    return StartupError(f"Cannot listen on {host} port {port}: {fault}.", hint)


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
