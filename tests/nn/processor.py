"""What the processor that runs the tests can do."""

import pytest

from geoseg.nn.device import choose_precision

in_bfloat16 = pytest.mark.skipif(
    choose_precision("auto", "cpu") == "float32",
    reason="this processor does not compute in bfloat16: minutes instead of seconds",
)
"""For networks of full size; that small ones run all the same is tested everywhere."""
