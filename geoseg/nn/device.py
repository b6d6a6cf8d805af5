"""Which device and arithmetic a model runs in."""

import os

import torch

from geoseg.errors import ConfigError
from geoseg.memory import glibc
from geoseg.nn.forward import Precision
from geoseg.threads import cores

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def choose_device(wanted: str) -> str:
    """`cpu` or `cuda` for `auto`, `cpu` or `cuda`; raises ConfigError where a GPU is wanted and there is none."""
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError("device is cuda, but PyTorch sees no GPU here. Use --device auto, or install a CUDA build.")
    return "cpu"


def choose_precision(wanted: str, device: str) -> Precision:
    """bfloat16 where the device computes in it (elsewhere it is slower than float32), unless one is asked for."""
    if wanted == "float32":
        return "float32"
    if wanted == "bfloat16":
        return "bfloat16"
    if device == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bfloat16" if native else "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def prepare_process(threads: int | None) -> None:
    """Use this many CPU threads (None: the share of a worker, or all cores), and keep memory between tiles.

    Dask starts its workers with OMP_NUM_THREADS=1, which torch would keep to; GEOSEG_THREADS is what is meant.
    """
    torch.set_num_threads(threads or int(os.environ.get("GEOSEG_THREADS", cores())))
    keep_freed_memory()
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True  # tiles come in four shapes at most


def keep_freed_memory() -> None:
    """Tell glibc to hold on to what is freed: every tile needs the same again.

    By default activations are mapped and unmapped by the kernel for each layer, page by page, which takes a quarter of
    the forward on two cores (3.4 instead of 4.6 MP/s with a U-Net on ResNet-18), and twice that under Dask, which asks
    for eager trimming; of a training step it takes a seventh. The peak stays within a few per cent. Elsewhere than on
    glibc nothing is changed.
    """
    for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1)):
        glibc("mallopt", option, value)
