"""Flower's ClientApp entry, named by the app bundle: a machine on which no shop was set up.

A node builds its own app with its shop: `client.deploy.request_process`.
"""

from __future__ import annotations

from client.federation.client_app import NoShop, make_client_app

app = make_client_app(NoShop())
