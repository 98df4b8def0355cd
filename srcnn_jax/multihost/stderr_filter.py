"""Copies standard input to standard error, but what JAX says of a dead process becomes one line.

When a process of a job dies, the service of `jax.distributed` aborts the others from C++, with some
thirty lines and a stack trace, before Python can catch anything. So `launch.join` sends the
standard error of its process through this program, which needs the standard library alone.
"""

import re
import sys
from collections.abc import Iterable, Iterator

LOST = (
    "another process of this job has ended, and this one ends with it: its own messages say why; "
    "start the job again, and it goes on from the last checkpoint"
)
_SERVICE = re.compile(rb"^[EF]\d{4} .* (coordination_\w+|client)\.(cc|h):\d+\]")
_FATAL = b"detected fatal errors"


def filter_stderr(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines as they come; all from the service's first error on is held back.

    If that error is fatal, one line stands for all that follows. If not, it comes at the end.
    """
    held: list[bytes] = []
    fatal = False
    for line in lines:
        if not held and not _SERVICE.match(line):
            yield line
            continue
        held.append(line)
        if _FATAL in line and not fatal:
            fatal = True
            yield f"error: {LOST}\n".encode()
    if not fatal:
        yield from held


if __name__ == "__main__":
    for line in filter_stderr(iter(sys.stdin.buffer.readline, b"")):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
