"""Mapping starts without torch's compiler, and whoever wants it still gets it."""

import subprocess
import sys

SCRIPT = """
import sys
import geoseg.nn.session
assert "torch._dynamo" not in sys.modules, "the compiler was imported"
import torch
doubled = torch.compile(lambda x: 2 * x, backend="eager")
assert doubled(torch.ones(1)).item() == 2
assert torch._dynamo.is_compiling() is False
import torchvision.ops
"""


def test_the_compiler_is_imported_by_those_who_compile():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=300)
