"""The path of a charger, right or mistyped."""

from urllib.parse import unquote

from websockets.http11 import Request

PATH = "/ocpp/"
SUBPROTOCOLS = "Sec-WebSocket-Protocol"


def meant_for_chargers(request: Request) -> bool:
    """Tell whether a WebSocket is a charger's: by its path, also by one that was mistyped, or its protocols.

    Whoever sets a charger up gets the address wrong now and then: it is refused, but by the gateway, which
    keeps that.
    """
    path = "/" + request.path.partition("?")[0].lstrip("/").lower()
    if path.startswith(PATH) or path == PATH.removesuffix("/"):
        return True
    return any("ocpp" in offered.lower() for offered in request.headers.get_all(SUBPROTOCOLS))


def guessed_identity(raw_path: str) -> str:
    """Return who probably knocks, for the list of refusals, by a path that may be wrong."""
    path = raw_path.partition("?")[0].encode("utf-8", "replace").decode().strip("/")
    if path.lower() == PATH.strip("/"):
        return ""
    if path[: len(PATH) - 1].lower() == PATH[1:]:
        return unquote(path[len(PATH) - 1 :])
    return unquote(path.rpartition("/")[2])
