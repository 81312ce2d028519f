"""ROS domains that nobody else on this machine tests in: two graphs in one domain hear each other's cameras."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from pathlib import Path
from typing import TextIO

DOMAINS = range(1, 101)  # above, DDS's ports meet those that the system hands out

_turns = itertools.count()


def take_domain() -> tuple[int, TextIO]:
    """A domain, and the file whose lock holds it: close it to give the domain back; the end of the process does so too.

    One process takes its domains in turn: for up to 20 s, DDS's lease, a domain may still show the nodes of the graph that has just left
    it; asked for what a node has, it then answers for a dead one of that name.
    """
    for _ in DOMAINS:
        domain = DOMAINS[(os.getpid() + next(_turns)) % len(DOMAINS)]
        lock = Path(tempfile.gettempdir()) / f"emollama-test-domain-{os.getuid()}-{domain}.lock"
        claim = lock.open("w", encoding="ascii")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            claim.close()
        else:
            return domain, claim
    raise RuntimeError(f"all {len(DOMAINS)} ROS domains are in use by tests; end some")
