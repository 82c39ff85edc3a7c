"""The page of the API: Swagger UI, whose files come from this service and no other host.

The files come from the package fastapi-offline. Its own application factory is not used, because auth and
security headers apply to every answer here.
"""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

router = APIRouter(prefix="/docs", include_in_schema=False)

#: Files of the page by name, and what they are.
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_STATIC = Path(str(files("fastapi_offline"))) / "static"

# Addresses are relative, so that the page works behind a proxy that adds a prefix.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>covpool: API</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# Without `validatorUrl: null` the page sends the document to an external validator.
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""
#: Swagger UI sets inline styles, and its style sheet holds images.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("")
async def page() -> HTMLResponse:
    """The page."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get("/start.js")
async def start() -> Response:
    """The script that starts it; a separate file, because the policy allows no inline scripts."""
    return Response(_START, media_type="text/javascript")


@router.get("/{name}")
async def asset(name: str) -> FileResponse:
    """A file of the page."""
    if name not in ASSETS:
        raise HTTPException(404, f"the page of the API has no such file; there is {', '.join(ASSETS)}")
    return FileResponse(_STATIC / name, media_type=ASSETS[name])
