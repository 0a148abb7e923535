"""Shortages of memory, files, threads or disk space: they may pass, and no artifact causes them.

They are recognised by the system's messages, because the errors of runtimes and child processes have only a text.
"""

_REMEDIES = {
    "Too many open files": "raise the limit of open files (ulimit -n)",
    "can't start new thread": "raise the limit of processes (ulimit -u)",
    "Resource temporarily unavailable": "raise the limit of processes (ulimit -u)",
    "Cannot allocate memory": "free memory",
    "MemoryError": "free memory",
    "bad_alloc": "free memory",
    "bad allocation": "free memory",
    "SIGKILL": "free memory",  # by the OOM killer, for which child processes are the first candidates
    "No space left on device": "free disk space, also of temporary files (TMPDIR)",
    "Disk quota exceeded": "free disk space, also of temporary files (TMPDIR)",
}


def shortage(error: BaseException) -> str | None:
    """Return the shortage that an error reports, with its remedy; None for other errors."""
    text = f"{type(error).__name__}: {error}"
    return next((f"{sign}; {remedy}" for sign, remedy in _REMEDIES.items() if sign in text), None)
