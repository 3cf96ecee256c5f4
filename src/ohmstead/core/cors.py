"""Which pages of other sites may use the API from a browser (Fetch Standard 3.2, CORS): those on a list."""

from collections.abc import Collection
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

ASKED: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Range",
    "Range",
    "X-API-Key",
    "X-Request-ID",
)
TOLD: Final = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Retry-After",
    "X-Next-Cursor",
    "X-Request-ID",
    "X-Total-Count",
)
"""Headers of our answers that a page may read."""
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REMEMBERED_SECONDS: Final = 600


def allow_origins(app: FastAPI, origins: Collection[str]) -> None:
    """Let pages of these origins use the API, cookies and all. Others are given no header for it."""
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_credentials=True,
            allow_methods=METHODS,
            allow_headers=ASKED,
            expose_headers=TOLD,
            max_age=REMEMBERED_SECONDS,
        )
