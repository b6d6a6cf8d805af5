"""Strict YAML: no duplicate keys, no aliases, no tags; every error names file and line."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from geoseg.errors import ConfigError

_MAX_BYTES = 2**20


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
            if not isinstance(key, Hashable):
                what = "a key must be a word; quote what begins with { or ["
                raise yaml.constructor.ConstructorError(None, None, what, key_node.start_mark)
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
    except ValueError as exc:  # a date or a number that there is not
        raise ConfigError(f"{path}: holds a value that cannot be ({exc}); quote it.") from None
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
