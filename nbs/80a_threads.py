# %% [markdown]
# # 80a · Threads that wait
# How should a thread wait for the others? PyTorch splits each operation among threads, and whoever is done first waits.
# By default it spins: it asks again and again, for some milliseconds, which is the quickest way to go on. But where
# other programs want the same cores, a spinning thread takes the core from the very thread that it waits for.
#
# `python benchmarks/busy.py` compares ways of waiting: alone, beside programs that never rest, and three trainings at
# once. It was run with fixed settings first, and then with what this notebook makes of them, `ours`:

# %%
from vicreg_nb.config import project_root

print((project_root() / "benchmarks" / "busy.txt").read_text("utf-8"))

# %% [markdown]
# Look at the columns "of the best": a number of spins that is good alone is bad beside others, and sleeping at once
# (`PASSIVE`) is the other way round. So everything that this project starts looks first whether others are running.

# %%
#| default_exp threads

# %%
#| export
import os
import time
from pathlib import Path

# %% [markdown]
# Linux tells how many threads run or want to run at this moment. We ask for a twentieth of a second, and keep running
# meanwhile: so several that start at once see each other.


# %%
#| export
def others_running(seconds: float = 0.05) -> int:
    """Threads of other processes that run or want to, as a median over a short time; 0 where nobody tells."""
    counts, end = [], time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            counts.append(int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]))
    except (OSError, ValueError, IndexError):
        return 0
    return sorted(counts)[len(counts) // 2] - 1  # without this one


# %%
print(f"{others_running()} others on {os.cpu_count()} cores")

# %% [markdown]
# The OpenMP library reads its settings once, when PyTorch loads it. So this module imports nothing of PyTorch, and what
# starts work calls it before that: the commands that compute, what runs a notebook, `make lab`, the tests. Their child
# processes inherit it, also when the load changes later: OpenMP does not ask again. Whoever has set either of the two
# variables knows better, and is left alone. A bare `papermill` and a Jupyter of your own start without us, and have the
# system's default.

# %%
#| export
SPINS = "20000"  # rounds of asking before a thread sleeps; the library's own value is 300,000


def brief_waiting(environment) -> dict:
    """The environment variables to add for how threads wait: none where the user has set one of them."""
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(environment):
        return {}
    busy = others_running() > (os.cpu_count() or 1) // 4
    return {"OMP_WAIT_POLICY": "PASSIVE"} if busy else {"GOMP_SPINCOUNT": SPINS}


# %%
assert brief_waiting({"HOME": "/"}) in ({"GOMP_SPINCOUNT": SPINS}, {"OMP_WAIT_POLICY": "PASSIVE"})
assert brief_waiting({"OMP_WAIT_POLICY": "ACTIVE"}) == brief_waiting({"GOMP_SPINCOUNT": "7"}) == {}
