"""The API's own page, from files that come with the server: a strict CSP allows no other host."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

FILES = Path(fastapi_offline.__file__).parent / "static"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'>"
    "<rect width='32' height='32' rx='7' fill='#0b3d2e'/>"
    "<path d='M18 4 7 18h7l-1 10 11-15h-7z' fill='#7ef0b5'/></svg>"
)
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ohmstead API</title>
<link rel="icon" href="/docs/icon.svg">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: true,
  displayRequestDuration: true,
  filter: true,
  docExpansion: "none",
  validatorUrl: null,
});
"""

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs() -> Response:
    """The API, to read and to try."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": CSP})


@router.get("/swagger")
async def swagger() -> Response:
    """Where clients of the booking document look for it."""
    return RedirectResponse("/docs")


@router.get("/docs/start.js")
async def start() -> Response:
    """The page's own script, in a file: the CSP allows none within the page."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/icon.svg")
async def icon() -> Response:
    """The icon of the page."""
    return Response(ICON, media_type="image/svg+xml")


@router.get("/docs/swagger-ui.css")
async def style() -> Response:
    """Swagger's own style."""
    return FileResponse(FILES / "swagger-ui.css", headers={"Cache-Control": "public, max-age=86400"})


@router.get("/docs/swagger-ui-bundle.js")
async def bundle() -> Response:
    """Swagger's own script."""
    return FileResponse(FILES / "swagger-ui-bundle.js", headers={"Cache-Control": "public, max-age=86400"})
