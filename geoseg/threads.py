"""Work beside the main thread, and what ends it."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def one_thread(name: str) -> ThreadPoolExecutor:
    """An executor whose only thread runs already.

    Ctrl-C while a thread starts leaves one that `shutdown` does not know and does not wait for: it would go on with files
    that are closed. Here it has nothing to do yet.
    """
    executor = ThreadPoolExecutor(1, name)
    executor.submit(int).result()
    return executor


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM, as schedulers send it, stops the work as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread: whoever started the thread handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
