from __future__ import annotations

import re
from pathlib import Path

import pytest

from client.serving.features.encoder_scripts import main_script, unread_script
from client.serving.service.startup import ServingSource, open_service
from shared.model.packaged_encoder import PACKAGED_NAME
from shared.settings.run_settings import DataSettings, ModelSettings
from tests.client.serving.small_service import encoder_settings, write_shop
from tests.shared.model.tiny_encoders import build_encoder


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        (["绿茶 100克", "咖啡 USB"], "Chinese"),
        (["green tea 绿茶", "dark roast"], "Latin"),
        (["зелёный чай"], "Cyrillic"),
        (["123", ""], None),
        (["ab 绿茶"], None),
    ],
)
def test_the_script_of_most_letters(texts: list[str], script: str | None) -> None:
    assert main_script(texts) == script


def test_only_what_an_encoder_does_not_read_is_named(tmp_path: Path) -> None:
    chinese, latin = ["绿茶", "黑咖啡豆"], ["green tea"]
    assert unread_script(chinese, ModelSettings()) == "Chinese"
    assert unread_script(latin, ModelSettings()) is None
    packaged = ModelSettings(encoder=PACKAGED_NAME)
    assert unread_script(chinese, packaged) is None
    assert unread_script(["שלום"], packaged) == "Hebrew"
    build_encoder(tmp_path / "tiny", "bert")
    folder = ModelSettings(encoder=str(tmp_path / "tiny"))
    assert unread_script(chinese, folder) == "Chinese"
    assert unread_script(chinese, ModelSettings(encoder=str(tmp_path / "none"))) is None


def test_a_start_says_where_the_script_is_not_read(tmp_path: Path) -> None:
    data = write_shop(tmp_path / "data")
    table = (data / "items.csv").read_text(encoding="utf-8")
    (data / "items.csv").write_text(
        re.sub(r",c(?=\d)", "有机绿茶礼盒装" * 6 + ",c", table), "utf-8"
    )
    lines: list[str] = []
    source = ServingSource(
        store=f"sqlite:///{tmp_path / 'shop.db'}",
        data=DataSettings(source=str(data)),
        model=encoder_settings(tmp_path),
    )
    open_service(source, say=lines.append).store.close()
    (warning,) = [line for line in lines if "does not read Chinese" in line]
    assert PACKAGED_NAME in warning
