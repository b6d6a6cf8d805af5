"""Work beside the main thread."""

from concurrent.futures import ThreadPoolExecutor


def one_thread(name: str) -> ThreadPoolExecutor:
    """An executor whose only thread runs already.

    Ctrl-C while a thread starts leaves one that `shutdown` does not know and does not wait for: it would go on with files
    that are closed. Here it has nothing to do yet.
    """
    executor = ThreadPoolExecutor(1, name)
    executor.submit(int).result()
    return executor
