"""An interrupt that comes while a thread starts must not leave work behind that nobody waits for."""

import threading

import pytest

from geoseg.threads import one_thread


def test_no_work_is_left_by_an_interrupt_while_the_thread_starts(monkeypatch):
    start, done = threading.Thread.start, []

    def interrupted(thread):
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), one_thread("test") as executor:
        executor.submit(done.append, 1)
    assert not done


def test_shutdown_waits_for_the_thread():
    executor = one_thread("test")
    assert len(executor._threads) == 1
    release, done = threading.Event(), []
    executor.submit(lambda: (release.wait(10), done.append(1)))
    threading.Timer(0.2, release.set).start()
    executor.shutdown()
    assert done == [1]
