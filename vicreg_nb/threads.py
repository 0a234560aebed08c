# Generated from nbs/80a_threads.py by `make export`. Do not edit: edit the notebook.
# cells nbs/80a_threads.py fb21753b96617dde
# text 10528ded452b2914

"""80a · Threads that wait."""

import os
import time
from pathlib import Path


def others_running(seconds: float = 0.05) -> int:
    """Threads of other processes that run or want to, as a median over a short time; 0 where nobody tells."""
    counts, end = [], time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            counts.append(int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]))
    except (OSError, ValueError, IndexError):
        return 0
    return sorted(counts)[len(counts) // 2] - 1  # without this one


SPINS = "20000"  # rounds of asking before a thread sleeps; the library's own value is 300,000


def brief_waiting(environment) -> dict:
    """The environment variables to add for how threads wait: none where the user has set one of them."""
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(environment):
        return {}
    busy = others_running() > (os.cpu_count() or 1) // 4
    return {"OMP_WAIT_POLICY": "PASSIVE"} if busy else {"GOMP_SPINCOUNT": SPINS}
