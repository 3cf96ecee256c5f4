"""What the server listens on: its sockets, and a uvicorn for each of them."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config

from ohmstead.core.config import Settings
from ohmstead.core.http import error_response
from ohmstead.core.ports import refused
from ohmstead.core.tls import server_context
from ohmstead.gateway.http_protocol import HttpProtocol
from ohmstead.gateway.protocol import protocol_class
from ohmstead.gateway.server import Gateway

KEEP_ALIVE_SECONDS = 75
"""Longer than browsers' pauses, proxies (nginx: 60 s) and libraries keep a connection: a request that is sent
on one at the moment we close it is lost, and a proxy answers it with 502."""


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Return what the main port encrypts with, if it does; `StartupError` for a certificate of no use."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return server_context(settings.tls_cert, settings.tls_key)


def listen(settings: Settings, host: str) -> list[socket.socket]:
    """Bind the main port and, where one is set, the one for chargers only.

    Raises `StartupError` when one of them cannot be had, and then has kept neither.
    """
    ports = {"OHMSTEAD_PORT": settings.port}
    if settings.ocpp_port is not None:
        ports["OHMSTEAD_OCPP_PORT"] = settings.ocpp_port
    sockets: list[socket.socket] = []
    for setting, port in ports.items():
        try:
            sockets.append(_bind(host, port))
        except OSError as error:
            for sock in sockets:
                sock.close()
            fault = (error.strerror or str(error)).lower()
            raise refused(host, port, fault, setting=setting) from error
    return sockets


def servers_for(
    listeners: list[socket.socket],
    app: FastAPI,
    gateway: Gateway,
    settings: Settings,
    tls: ssl.SSLContext | None,
) -> list[tuple[uvicorn.Server, socket.socket]]:
    """Return a server for each listener; the second one is for chargers only, and without TLS."""
    main = _config(app, gateway, settings)
    if tls is not None:
        main.ssl_context_factory = lambda _config, _default: tls
    configs = [main, _config(_chargers_only, gateway, settings)][: len(listeners)]
    return [(_Quiet(config), sock) for config, sock in zip(configs, listeners, strict=True)]


def _config(app: object, gateway: Gateway, settings: Settings) -> Config:
    return Config(
        app,  # type: ignore[arg-type] # uvicorn's own type of an application is narrower than ASGI's
        http=HttpProtocol,
        ws=protocol_class(gateway),
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        ws_max_size=settings.ocpp_max_frame_bytes,
        ws_per_message_deflate=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, int(settings.shutdown_grace_seconds)),
        backlog=4096,
    )


class _Quiet(uvicorn.Server):
    """A uvicorn server whose signals are ours."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


async def _chargers_only(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 404 to all that is no charger."""
    if scope["type"] == "http":
        response = error_response(
            404, "NotFound", "This port is for chargers: connect to /ocpp/ and your identity."
        )
        await response(scope, receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": "this port is for chargers"})


def _bind(host: str, port: int) -> socket.socket:
    family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, number)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.setblocking(False)
        sock.set_inheritable(True)
    except OSError:
        sock.close()
        raise
    return sock
