"""Base of all answers, and the example that stands in the description of each."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

_PLAIN: dict[Any, Any] = {bool: True, int: 3, float: 0.5}


class Answer(BaseModel):
    """Base of all answers.

    A field that this version does not know is passed over, so that an older client reads a newer
    node.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


def example_of(model: type[Answer]) -> dict[str, Any]:
    """Returns an example of an answer as plain values, from the examples of its fields.

    Raises:
        TypeError: A text has neither an example nor a default.
    """
    return {name: _example_of_field(info) for name, info in model.model_fields.items()}


def _example_of_field(field: FieldInfo) -> Any:
    if field.examples:
        return field.examples[0]
    nested = [one for one in get_args(field.annotation) if _is_nested(one)]
    if not field.is_required() and not nested:
        return field.get_default(call_default_factory=True)
    return _example_of_type(field.annotation)


def _is_nested(kind: Any) -> bool:
    arguments = get_args(kind)
    return any(map(_is_nested, arguments)) or (isinstance(kind, type) and issubclass(kind, Answer))


def _example_of_type(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Answer):
        return example_of(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return arguments[0]
    if origin is list:
        return [_example_of_type(arguments[0])]
    if type(None) in arguments:
        return _example_of_type(arguments[0])
    raise TypeError(f"no example of {kind}: give the field one")
