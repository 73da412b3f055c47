"""`node serve` beside a node: what is installed is served, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.deploy.installed_releases import InstalledReleases
from client.serving.service.service import Service
from client.serving.service.serving_bundle import read_serving_bundle
from client.serving.service.startup import ServingSource, open_service
from shared.errors import ModelError
from shared.settings.run_settings import DataSettings
from tests.client.deploy.test_installed_statistics import a_run
from tests.deploy.installing import Pair
from tests.simulation.tiny_shops import write_tiny_shops


@pytest.fixture
def opening(tmp_path: Path, pair: Pair) -> ServingSource:
    data = write_tiny_shops(tmp_path / "all" / "data", shops=1, users=40)
    return ServingSource(
        store=f"sqlite:///{tmp_path / 'shop.db'}",
        data=DataSettings(source=str(data), shop_column="shop_id", order_column="position"),
        adapter=pair.node.root,
    )


def install_run(pair: Pair, number: int) -> None:
    for release in a_run(pair, number):
        pair.install(release)


def served(service: Service) -> dict[str, int]:
    found: dict[str, int] = service.status()["releases"]
    return found


def test_a_node_serves_local_signals_until_its_first_run_and_then_the_release(
    pair: Pair, opening: ServingSource
) -> None:
    assert read_serving_bundle(pair.node.root).saved is None
    service = open_service(opening)
    assert (service.status()["adapter"], served(service)) == (None, {})
    assert not service.engine.sources.space.has_adapter
    pair.install(pair.counts())  # the pointer moves before there is an adapter
    service.follow_adapter()
    assert (service.status()["adapter"], served(service)) == (None, {})
    vectors = service.engine.sources.space.vectors
    install_run(pair, 2)
    service.follow_adapter()
    assert service.status()["adapter"] == "release 4"
    assert served(service) == {"counts": 2, "pairs": 3, "adapter": 4}
    assert service.engine.sources.space.vectors is vectors  # the base was the invitation's already
    assert service.engine.sources.federated.prior is not None
    assert len(service.engine.sources.federated_ease.known) > 2
    service.close()


def test_a_service_follows_the_node_back_and_keeps_its_weights(
    pair: Pair, opening: ServingSource
) -> None:
    install_run(pair, 1)
    install_run(pair, 2)
    service = open_service(opening)
    assert served(service) == {"counts": 4, "pairs": 5, "adapter": 6}
    service.learn()
    learned = service.engine.fusion_weights
    service.close()
    service = open_service(opening)
    assert service.engine.fusion_weights == learned
    InstalledReleases(pair.node).rollback()
    service.follow_adapter()
    assert served(service) == {"counts": 1, "pairs": 2, "adapter": 3}
    service.close()


def test_a_release_that_was_changed_on_the_disk_is_not_taken(
    pair: Pair, opening: ServingSource
) -> None:
    install_run(pair, 1)
    service = open_service(opening)
    projection = service.engine.sources.space.projection
    install_run(pair, 2)
    file = InstalledReleases(pair.node).file(5)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="of the file must be"):
        service.reload_adapter(pair.node.root)
    assert served(service) == {"counts": 1, "pairs": 2, "adapter": 3}
    assert projection is not None
    np.testing.assert_array_equal(service.engine.sources.space.projection, projection)
    service.close()


def test_another_encoder_than_the_federations_is_refused(
    pair: Pair, opening: ServingSource
) -> None:
    install_run(pair, 1)
    config = Path(pair.node.invitation().base.model.encoder) / "tokenizer_config.json"
    config.write_text(config.read_text().replace("{", '{"changed": true,', 1))
    with pytest.raises(ModelError, match="use the encoder that the server's owner names"):
        open_service(opening)
    assert InstalledReleases(pair.node).pointer().current["adapter"] == 3
