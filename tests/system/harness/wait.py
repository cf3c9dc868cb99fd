# SPDX-License-Identifier: Apache-2.0
"""Waiting for what must come, with a deadline."""
import time

EVENT_SECONDS = 5  # commit to effect in another service, at the very most
POLL_SECONDS = 0.01  # at least; a longer wait looks less often
POLL_SECONDS_MAX = 0.1
POLL_SHARE = 0.1  # of what was waited: what a pause adds at most


def wait_for(look, seconds=EVENT_SECONDS, what="what was waited for"):
    """Calls look() until it returns something true, and returns that. An
    AssertionError or OSError of look() means "not yet"; the last one is shown
    when the deadline passes."""
    begun = time.monotonic()
    deadline = begun + seconds
    last = None
    while True:
        try:
            found = look()
            if found:
                return found
            last = found
        except (AssertionError, OSError) as error:
            last = error
        assert time.monotonic() < deadline, \
            f"{what}: not within {seconds} s, the last look gave {last!r}"
        waited = time.monotonic() - begun
        time.sleep(min(POLL_SECONDS_MAX,
                       max(POLL_SECONDS, waited * POLL_SHARE)))
