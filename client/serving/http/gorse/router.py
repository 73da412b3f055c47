"""All of Gorse's routes under their prefix."""

from __future__ import annotations

from fastapi import APIRouter

from client.serving.http.gorse import feedback, items, recommend, users
from client.serving.http.middleware import GORSE_PREFIX

# Not in the schema: the interface is Gorse's, whose own clients speak it.
router = APIRouter(prefix=f"{GORSE_PREFIX}/api", include_in_schema=False)
for part in (users, items, feedback, recommend):
    router.include_router(part.router)
