"""What the C library keeps of freed memory."""

import ctypes


def give_back_memory() -> None:
    """Give what was freed back to the system: glibc keeps it, in pieces that the next, larger array may not fit in."""
    glibc("malloc_trim", 0)


def glibc(function: str, *arguments: int) -> None:
    """Call a function of glibc; elsewhere nothing happens."""
    try:
        getattr(ctypes.CDLL("libc.so.6"), function)(*arguments)
    except (OSError, AttributeError):
        return
