# Generated from nbs/80a_threads.py by `make export`. Do not edit: edit the notebook.
# cells nbs/80a_threads.py 1fcb6f3514073421
# text 145b6faf3c945d74

"""80a · Threads that wait."""

SPINS = "20000"  # rounds of asking before a thread sleeps; the library's own value is 300,000


def brief_waiting(environment) -> dict:
    """The environment variables to add for threads that wait briefly: none where the user has set one of them."""
    return {} if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(environment) else {"GOMP_SPINCOUNT": SPINS}
