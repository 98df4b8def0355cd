"""Copies standard input to standard error, with JAX's messages about a dead process as one line.

When a process of a job dies, the service of `jax.distributed` aborts the others from C++, with some
thirty lines and a stack trace. Python cannot catch this. So `launch.join` sends the standard error
of its process through this program, which needs only the standard library.
"""

import re
import sys
from collections.abc import Iterable, Iterator

LOST = (
    "another process of this job has ended, so this process ends, too; the messages of the other "
    "say why; start the job again, and it resumes from the last checkpoint"
)
_SERVICE = re.compile(rb"^[EF]\d{4} .* (coordination_\w+|client)\.(cc|h):\d+\]")
_FATAL = b"detected fatal errors"


def filter_stderr(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yields lines as they arrive, but holds back all lines from the service's first error on.

    If the service reports a fatal error, one line replaces all lines that are held back. If not,
    these lines follow at the end.
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
