"""Where the document and a page that shows it are found."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import Response

from appliance.api.openapi.document import encoded_document

PATH = "/openapi.json"


def add_document_routes(app: FastAPI) -> None:
    """FastAPI's own document knows neither what handlers read nor what they answer."""

    @app.get(PATH)
    async def document() -> Response:
        return Response(await asyncio.to_thread(encoded_document), media_type="application/json")

    @app.get("/docs")
    async def page() -> Response:
        return get_swagger_ui_html(openapi_url=PATH, title=app.title)
