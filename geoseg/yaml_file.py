"""Strict YAML: no unknown keys, no duplicate keys, no aliases, no tags; every error names file and key."""

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from geoseg.errors import ConfigError

_MAX_BYTES = 2**20

Settings = TypeVar("Settings", bound=BaseModel)


_PLAINLY = {
    "tuple_type": "must be a list, such as [1, 2, 3]",
    "dict_type": "must be `key: value` lines",
    "model_type": "must be `key: value` lines",
}
"""What pydantic says in the words of Python, in those of YAML."""


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader without duplicate keys and without aliases (the stuff of YAML bombs)."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse aliases."""
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse duplicate keys."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key '{key}'", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping. Raises ConfigError."""
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read ({exc.strerror}).") from None
    if len(text) > _MAX_BYTES:
        raise ConfigError(f"{path}: {len(text):,} bytes, but a configuration has at most {_MAX_BYTES:,}.")
    try:
        value = yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader, made stricter
    except yaml.MarkedYAMLError as exc:
        line = f"line {exc.problem_mark.line + 1}: " if exc.problem_mark else ""
        raise ConfigError(f"{path}: {line}{exc.problem}.") from None
    except yaml.YAMLError as exc:
        raise ConfigError(f"{path}: not YAML ({exc}).") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply for a configuration.") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: holds a {type(value).__name__}, but 'key: value' lines are needed.")
    return {key: _at_home(v) for key, v in value.items()}


def _at_home(value: Any) -> Any:
    """Values with `~/` as the home folder, as a shell would read it."""
    if isinstance(value, dict):
        return {key: _at_home(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_at_home(v) for v in value]
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~/") else value


def validate(model: type[Settings], values: dict[str, Any], source: str) -> Settings:
    """`values` as `model`; raises ConfigError naming the source and the key, or all unknown keys with the nearest known."""
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        raise ConfigError(f"{source}: {_told(exc, model)}") from None


def _told(exc: ValidationError, model: type[BaseModel]) -> str:
    """All unknown keys, or else the first thing that is wrong."""
    errors = exc.errors(include_url=False)
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
    """Known keys of the settings at `path`."""
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
