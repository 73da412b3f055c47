"""The HTTP application of one shop's service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata

from fastapi import FastAPI
from starlette.types import ASGIApp

from client.serving.api import (
    bulk,
    catalogue,
    errors,
    feedback,
    page,
    privacy,
    recommending,
    status,
)
from client.serving.api.guard import Guard
from client.serving.api.paths import WholeIds
from client.serving.service import Service


def create_app(service: Service) -> FastAPI:
    """Builds the application; its background work begins and ends with it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(
        title="fedprofile node",
        version=metadata.version("fedprofile"),
        description="Recommendations of one shop, from its own machine.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere; `page` has our own
        redoc_url=None,
    )
    app.state.service = service
    errors.install(app)
    for module in (recommending, feedback, bulk, catalogue, privacy, status, page):
        app.include_router(module.router)
    return app


def guarded(service: Service) -> ASGIApp:
    """Builds the application behind its guard, with ids that may hold slashes."""
    return Guard(WholeIds(create_app(service)), settings=service.settings, metrics=service.metrics)
