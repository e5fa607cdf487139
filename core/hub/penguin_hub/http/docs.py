"""`/api/docs`: Swagger UI from our own files: it works without the internet and tells nobody of its visitors."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from litestar import MediaType, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import File

_VENDOR: Final = Path(str(files("openapi_ui_bundles"))) / "swagger_ui" / "vendor"
_TYPES: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>PenguinMails Integration Hub: API</title>
<link rel="stylesheet" href="/api/docs/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="/api/docs/swagger-ui-bundle.js"></script>
<script src="/api/docs/start.js"></script>
</body>
</html>
"""
_START: Final = """SwaggerUIBundle({
  url: "/api/openapi.json", dom_id: "#ui", deepLinking: true, persistAuthorization: false, tryItOutEnabled: true,
  defaultModelsExpandDepth: 0, validatorUrl: null
});
"""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@get("/api/docs", media_type=MediaType.HTML, include_in_schema=False)
async def page() -> Response[str]:
    """The page: try each operation with a key of yours."""
    return Response(_PAGE, media_type=MediaType.HTML, headers={"content-security-policy": _POLICY})


@get("/api/docs/start.js", include_in_schema=False)
async def start() -> Response[str]:
    return Response(_START, media_type="text/javascript")


@get("/api/docs/{name:str}", include_in_schema=False)
async def asset(name: FromPath[str]) -> File:
    """Swagger UI's own files."""
    if name not in _TYPES:
        raise NotFoundException
    return File(
        _VENDOR / name,
        media_type=_TYPES[name],
        content_disposition_type="inline",
        headers={"cache-control": "public, max-age=86400"},
    )


routes = [page, start, asset]
