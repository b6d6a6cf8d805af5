"""Strict settings: no unknown keys, frozen, and errors in the words of who writes them."""

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from geoseg.errors import ConfigError
from geoseg.yaml_file import read_yaml


class Strict(BaseModel):
    """Settings that are what they say: no unknown keys, no changes, no infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


Settings = TypeVar("Settings", bound=BaseModel)

_PLAINLY = {
    "tuple_type": "must be a list, such as [1, 2, 3]",
    "dict_type": "must be `key: value` lines",
    "model_type": "must be `key: value` lines",
}
"""What pydantic says in the words of Python, in those of YAML."""


def validate(model: type[Settings], values: dict[str, Any], source: str) -> Settings:
    """`values` as `model`; raises ConfigError naming the source and the key, or all unknown keys with the nearest known."""
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        raise ConfigError(f"{source}: {_told(exc.errors(include_url=False), model)}") from None


def load(model: type[Settings], config: Path | None, given: dict[str, Any]) -> Settings:
    """Settings from a YAML file, with those `given` on the command line on top.

    Raises ConfigError naming the first wrong key, and which of the two it is from.
    """
    values = read_yaml(config) if config is not None else {}
    try:
        return model.model_validate(values | given)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
    if config is None:
        raise ConfigError(f"command line: {_told(errors, model)}")
    of_file = [e for e in errors if e["loc"] and e["loc"][0] not in given]
    if of_file or not given:
        raise ConfigError(f"{config}: {_told(of_file or errors, model)}")
    source = "command line" if errors[0]["loc"] else f"{config} and the command line"
    raise ConfigError(f"{source}: {_told(errors, model)}")


def _told(errors: list[ErrorDetails], model: type[BaseModel]) -> str:
    """All unknown keys, or else the first thing that is wrong."""
    if unknown := [_unknown(e["loc"], model) for e in errors if e["type"] == "extra_forbidden"]:
        return f"{'; '.join(unknown)}."
    error = errors[0]
    key = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    if not key:  # of several keys at once
        return f"{message}."
    if error["type"] == "missing":
        return f"'{key}' is needed."
    message = _PLAINLY.get(error["type"], message[0].lower() + message[1:])
    got = "" if isinstance(error["input"], dict) else f" (got {error['input']!r})"
    return f"{key}: {message}{got}."


def _unknown(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    key, known = ".".join(str(part) for part in loc), _keys(model, loc[:-1])
    near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0)
    return f"unknown key '{key}'; the nearest known key is '{near[0]}'" if near else f"unknown key '{key}'"


def _keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Known keys of the settings at `path`, which goes through lists by number and through forms by their tag."""
    models = [model]
    for part in path:
        inner = [
            m for own in models if part in own.model_fields for m in _models_in(own.model_fields[str(part)].annotation)
        ]
        models = inner or [m for m in models if isinstance(part, int) or _is_tagged(m, part)]
    return [key for m in models for key in m.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _is_tagged(model: type[BaseModel], tag: str) -> bool:
    return any(tag in get_args(field.annotation) for field in model.model_fields.values())
