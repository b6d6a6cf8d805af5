"""No secret goes into a record of a run: they live in addresses, and addresses in settings and messages."""

import re
from typing import Any

_SECRET = re.compile(r"(?i)(token|key|secret|password|signature|credential)[^=&/\s]*=[^&\s]+|//[^/@\s]+@")


BLANK = "[redacted]"


def redacted(value: Any) -> Any:
    """Plain values with whatever looks like a secret in an address blanked."""
    if isinstance(value, dict):
        return {k: redacted(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(v) for v in value]
    return _SECRET.sub(BLANK, value) if isinstance(value, str) else value
