"""A shop's service over a small data folder and a tiny random encoder, all parts real."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from client.serving.access.keys import AccessFiles
from client.serving.server import create_guarded_app
from client.serving.service.service import WEIGHTS_FACT, Service
from client.serving.service.settings import ServingSettings
from client.serving.service.startup import ServingSource, open_service
from shared.model.adapter_saving import save_adapter
from shared.model.profile_model import ProfileModel
from shared.model.profile_space import PROJECTION_A, PROJECTION_B
from shared.settings.run_settings import DataSettings, ModelSettings
from tests.shared.model.tiny_encoders import WORDS, build_encoder

N_ITEMS, N_USERS, GROUPS = 60, 80, 3
LINES = {"content-type": "application/x-ndjson"}
"""Headers of a bulk import."""


def write_shop(folder: Path) -> Path:
    """Users of three tastes: user and item numbers agree modulo three in most purchases."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "items.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["item_id", "title", "category", "brand", "price"])
        for i in range(N_ITEMS):
            title = f"{WORDS[i % 3]} {WORDS[3 + i % 7]} {WORDS[i % 10]}"
            rows.writerow([f"i{i}", title, f"c{i % GROUPS}", f"b{i % 4}", 1 + i % 7])
    with (folder / "interactions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "item_id", "datetime", "session_id"])
        for user in range(N_USERS):
            for visit in range(8):
                own = np.arange(user % GROUPS, N_ITEMS, GROUPS)
                for item in rng.choice(own, 7, replace=False):
                    day = f"2024-{1 + visit:02d}-{1 + user % 28:02d}T10:00:00"
                    rows.writerow([f"u{user}", f"i{item}", day, user * 100 + visit])
    return folder


def encoder_settings(folder: Path) -> ModelSettings:
    """Settings of a tiny encoder, which is made where absent."""
    if not (folder / "encoder").exists():
        build_encoder(folder / "encoder", "bert")
    return ModelSettings(encoder=str(folder / "encoder"), dim=8, rank=4, max_tokens=16)


def opened(folder: Path, *, adapter: Path | None = None, **settings: Any) -> Service:
    """Imports the shop in `folder` and opens its service."""
    data = folder / "data"
    if not data.exists():
        write_shop(data)
    return open_service(
        ServingSource(
            store=f"sqlite:///{folder / 'shop.db'}",
            data=DataSettings(source=str(data)),
            adapter=adapter,
            settings=ServingSettings(**settings),
            model=encoder_settings(folder),
        )
    )


def weights_stored(database: Path) -> bool:
    """Whether a service has learned and stored its weights; scores follow them."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT count(*) FROM facts WHERE name = ?"
        return bool(connection.execute(query, (WEIGHTS_FACT,)).fetchone()[0])


def owner_key(store: Path) -> str:
    """Returns the key that `node serve` made beside a database."""
    return AccessFiles(store).owner_key.read_text().strip()


@contextmanager
def client_of(service: Service) -> Iterator[TestClient]:
    """Serves in this process; the service is closed at the end."""
    app = create_guarded_app(service)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def write_adapter(folder: Path, service: Service, *, seed: int, replace: bool = False) -> Path:
    """Writes a random adapter for the base that a service without an adapter has."""
    base = service.texts.base
    from shared.model.encoder_files import text_space

    model = ProfileModel(base.whitening, text_space=text_space(base.settings))
    rng = np.random.default_rng(seed)
    rank, dim = base.settings.rank, base.settings.dim
    arrays = {
        PROJECTION_A: rng.normal(size=(rank, dim + 1)).astype(np.float32),
        PROJECTION_B: rng.normal(size=(dim, rank)).astype(np.float32),
    }
    save_adapter(
        folder,
        arrays,
        base=model,
        settings=base.settings,
        guarantee=None,
        data_shape={},
        replace=replace,
    )
    return folder
