"""Check of the system's limit of threads, for libraries that do not survive reaching it."""

import threading


def check_threads(count: int) -> None:
    """Start `count` threads together and end them.

    Raises:
        RuntimeError: the system does not allow as many (`ulimit -u`, limit of a container).
    """
    ending = threading.Event()
    threads = [threading.Thread(target=ending.wait, name="check", daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
    finally:
        ending.set()
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join()
