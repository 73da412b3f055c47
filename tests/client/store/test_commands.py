"""The owner's commands on a database: what they print, and their faults in one line."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from client.cli import node as commands
from client.store.imports.import_source import Progress, import_source
from shared.errors import DataError, FedprofileError
from shared.settings.run_settings import DataSettings
from simulation.bench.deployment.processes import wait_until
from tests.client.store.sources import event, write_export

CSV = "user_id,item_id,datetime,event_id\nu1,a,2024-01-01,e1\nu2,a,2024-01-02,e2\n"


def run(folder: Path, *words: str, sent: bytes | None = None) -> Result:
    return CliRunner().invoke(commands, [*words, "--store", str(folder / "shop.db")], input=sent)


def said(folder: Path, *words: str, sent: bytes | None = None) -> str:
    answer = run(folder, *words, sent=sent)
    assert answer.exit_code == 0, answer.exception
    return answer.output


@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd"])
def test_standard_input_is_imported_as_a_file(tmp_path, packing: str) -> None:
    content = CSV.encode()
    if packing == "gzip":
        content = gzip.compress(content)
    elif packing == "zstd":
        content = pa.compress(content, codec="zstd", asbytes=True)
    assert "2 events imported" in said(tmp_path, "import", "--data", "-", sent=content)
    assert "nothing new" in said(tmp_path, "import", "--data", "-", sent=content)
    assert (tmp_path / "shop.db").stat().st_mode & 0o777 == 0o600
    empty = run(tmp_path, "import", "--data", "-", sent=b" \n")
    assert isinstance(empty.exception, FedprofileError)


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_packed_parquet_comes_by_standard_input_and_a_torn_one_is_refused(
    tmp_path, packing: str
) -> None:
    table = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(io.BytesIO(CSV.encode())), table)
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, packing) as stream:
        stream.write(table.getvalue())
    content = packed.getvalue().to_pybytes()
    assert "2 events imported" in said(tmp_path, "import", "--data", "-", sent=content)
    torn = run(tmp_path, "import", "--data", "-", sent=content[: len(content) // 2])
    assert isinstance(torn.exception, DataError)


def test_what_was_dropped_is_told_with_its_reason_and_place(tmp_path) -> None:
    text = CSV + "u3,a,2024-13-45,e3\n"
    refused = run(tmp_path, "import", "--data", "-", sent=text.encode())
    assert "1 of 3 rows" in str(refused.exception)
    assert "row 4" in str(refused.exception)
    words = ("import", "--data", "-", "--accept-loss")
    assert "row 4" in said(tmp_path, *words, sent=text.encode())
    report = json.loads(said(tmp_path, *words, "--json", sent=text.encode()))
    assert (report["rows_read"], report["dropped"]) == (3, {"impossible_date": 1})
    assert report["examples"]["impossible_date"][0]["value"] == "2024-13-45"


def test_since_takes_a_date_and_nothing_else(tmp_path) -> None:
    sent = CSV.encode()
    told = said(tmp_path, "import", "--data", "-", "--since", "2024-01-02", sent=sent)
    assert "1 events imported" in told
    wrong = run(tmp_path, "import", "--data", "-", "--since", "yesterday", sent=sent)
    assert "since='yesterday' must be an ISO date" in str(wrong.exception)


def test_consent_retention_deletion_and_export_by_command(tmp_path) -> None:
    said(tmp_path, "import", "--data", "-", sent=CSV.encode())
    assert "1 refuse" in said(tmp_path, "consent", "--user", "u1", "--training", "refuse")
    counts = json.loads(said(tmp_path, "consent", "--default", "opt-in", "--json"))
    assert (counts["default"], counts["refuse"], counts["silent"]) == ("opt-in", 1, 1)
    lines = [json.loads(line) for line in said(tmp_path, "export-user", "u1").splitlines()]
    assert lines[0]["training"] == "refuse"
    assert (lines[1]["event_id"], lines[1]["time"]) == ("e1", "2024-01-01T00:00:00+00:00")
    assert "1 events" in said(tmp_path, "delete-user", "u1")
    assert "1 were removed" in said(tmp_path, "retention", "--days", "30")
    assert "2 rows are from before" in said(tmp_path, "import", "--data", "-", sent=CSV.encode())
    said(tmp_path, "retention", "--forever")
    again = said(tmp_path, "import", "--data", "-", sent=CSV.encode())
    assert "1 rows are of users or items that were deleted" in again
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)
    assert "is not stored" in str(run(tmp_path, "export-user", "u1").exception)


def test_a_users_table_brings_consent_and_persons(tmp_path) -> None:
    people = [
        {"user_id": "u1", "segment": "gold", "person_id": "p", "training": "refuse"},
        {"user_id": "u2", "segment": "", "person_id": "p", "training": "ALLOW"},
        {"user_id": "u3", "segment": "", "person_id": "", "training": ""},
    ]
    export = write_export(tmp_path / "a", [event("u1", "i1", 1)], users=people)
    said(tmp_path, "import", "--data", str(export))
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        rows = connection.execute("SELECT user_id, segment, person_id, training FROM users")
        assert rows.fetchall() == [
            ("u1", "gold", "p", 0),
            ("u2", "", "p", 1),
            ("u3", "", "", None),
        ]
    people[0]["training"] = "no"
    write_export(tmp_path / "a", [event("u1", "i1", 1)], users=people)
    wrong = run(tmp_path, "import", "--data", str(export))
    assert "expected allow, refuse or nothing" in str(wrong.exception)


def test_a_long_import_says_how_far_it_is(tmp_path) -> None:
    lines: list[str] = []
    with Progress(lines.append, seconds=0.01).running() as progress:
        progress.stage("reading")
        wait_until(
            lambda: any(line.endswith(": reading") for line in lines), seconds=300, name="line"
        )
    export = write_export(tmp_path / "a", [event("u1", "i1", 1)])
    short: list[str] = []
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    import_source(url, DataSettings(source=str(export)), None, say=short.append)
    assert short == []
