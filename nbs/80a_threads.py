# %% [markdown]
# # 80a · Threads that wait
# How should a thread wait for the others? PyTorch splits each operation among threads, and whoever is done first waits.
# By default it spins: it asks again and again, for some milliseconds, which is the quickest way to go on. But where
# other programs want the same cores, a spinning thread takes the core from the very thread that it waits for.
#
# So everything that this project starts spins for a much shorter time before it gives its core away.
# `python benchmarks/busy.py` compares this with the alternatives, on a quiet machine and on a busy one.

# %%
#| default_exp threads

# %% [markdown]
# The OpenMP library reads its settings once, when PyTorch loads it. So this module imports nothing of PyTorch, and what
# starts work calls it before that: the command, what runs a notebook, the tests. Their child processes inherit it.
# Whoever has set either of the two variables knows better, and is left alone.


# %%
#| export
SPINS = "20000"  # rounds of asking before a thread sleeps; the library's own value is 300,000


def brief_waiting(environment) -> dict:
    """The environment variables to add for threads that wait briefly: none where the user has set one of them."""
    return {} if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(environment) else {"GOMP_SPINCOUNT": SPINS}


# %%
assert brief_waiting({"HOME": "/"}) == {"GOMP_SPINCOUNT": SPINS}
assert brief_waiting({"OMP_WAIT_POLICY": "ACTIVE"}) == brief_waiting({"GOMP_SPINCOUNT": "7"}) == {}
