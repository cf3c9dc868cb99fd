# SPDX-License-Identifier: Apache-2.0
"""Waiting for what must come, with a deadline."""
import time

EVENT_SECONDS = 5  # commit to effect in another service, at the very most
POLL_SECONDS = 0.01


def wait_for(look, seconds=EVENT_SECONDS, what="what was waited for"):
    """Calls look() until it returns something true, and returns that. An
    AssertionError or OSError of look() means "not yet"; the last one is shown
    when the deadline passes."""
    deadline = time.monotonic() + seconds
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
        time.sleep(POLL_SECONDS)
