"""Errors as values: message and remedy are told apart, whatever the ids hold."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from client.serving.http.errors import message_and_remedy
from shared.errors import DataError


@pytest.mark.parametrize("item_id", ["a; b", "; ", "x; see --data; "])
def test_an_id_with_a_semicolon_is_not_torn_apart(client, item_id: str) -> None:
    answer = client.get(f"/api/items/{quote(item_id, safe='')}")
    error = answer.json()["error"]
    assert answer.status_code == 404
    assert error["message"] == f"item_id={item_id!r} is not in the catalogue"
    assert error["remedy"] == "check its spelling"


def test_a_remedy_over_http_names_no_option_without_its_command() -> None:
    error = DataError("must be 1; or 2", name="x", value="a; b", remedy="change --x")
    assert message_and_remedy(error) == ("x=a; b must be 1; or 2", "change the setting x")
    whole = DataError("is missing", name="x", remedy="run `fedprofile node serve --adapter FOLDER`")
    assert message_and_remedy(whole)[1] == "run `fedprofile node serve --adapter FOLDER`"
