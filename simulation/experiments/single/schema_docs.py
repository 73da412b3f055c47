"""Writes the table of all keys of `report.json` from the docstrings of the schema.

`python -m simulation.experiments.single.schema_docs` rewrites it in `docs/report.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulation.experiments.single.schema import Report

BEGIN, END = (
    "<!-- keys: written by simulation.experiments.single.schema_docs -->",
    "<!-- end of keys -->",
)


def describe() -> str:
    """Returns a Markdown section for each part of a report, its keys with type and meaning."""
    schema = Report.model_json_schema(mode="serialization")
    settings = {name for name in schema["$defs"] if name.endswith("Settings")}
    sections = [_section("Report", schema)]
    sections += [
        _section(name, part)
        for name, part in schema["$defs"].items()
        if name not in settings and part.get("type") == "object"
    ]
    return "\n\n".join(sections)


def updated(page: str) -> str:
    """Returns the page with the text between its two marks replaced."""
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{describe()}\n\n{END}{tail}"


def _section(name: str, schema: dict[str, Any]) -> str:
    about = schema.get("description", "").split("\n\n")[0].replace("\n", " ")
    rows = "\n".join(_rows(schema))
    return f"### {name}\n\n{about}\n\n| Key | Type | Meaning |\n|---|---|---|\n{rows}"


def _rows(schema: dict[str, Any]) -> Iterator[str]:
    for key, field in schema.get("properties", {}).items():
        meaning = field.get("description", "").replace("\n", " ").replace("|", "\\|")
        yield f"| `{key}` | {_type(field)} | {meaning} |"
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        yield f"| any surface | {_type(extra)} | The same over all users. |"


def _type(field: dict[str, Any]) -> str:
    """Names a JSON type: `object of <part>`, `list of <part>`, `number or null`."""
    if "$ref" in field:
        return str(field["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "const" in field:
        return f"{field['const']}"
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"object of {_type(field['additionalProperties'])}"
    return str(field.get("type", "any"))


if __name__ == "__main__":
    target = Path(__file__).resolve().parents[3] / "docs" / "report.md"
    target.write_text(updated(target.read_text(encoding="utf-8")), encoding="utf-8")
