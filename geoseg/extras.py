"""Libraries that only some commands need."""

from importlib.util import find_spec

from geoseg.errors import ConfigError


def require(extra: str, *modules: str) -> None:
    """Raise ConfigError naming the extra of geoseg to install unless all `modules` are there; none is imported."""
    if missing := [name for name in modules if find_spec(name) is None]:
        raise ConfigError(
            f"{', '.join(missing)} not installed, but needed here. Install: pip install 'geoseg[{extra}]'"
        )
