"""What JAX says of a dead process becomes one line; all else passes."""

from srcnn_jax.multihost import stderr_filter


def test_the_noise_of_a_lost_process_is_one_line():
    said = [b"a warning\n", b"F1 no such file\n"]
    first = b"E1124 18:40:07.180565   12578 coordination_service_agent.cc:289] Polled an error\n"
    fatal = b"F1124 18:40:07.180603   12578 client.h:80] JAX service detected fatal errors. This\n"
    trace = [b"*** Check failure stack trace: ***\n", b"    @     0x7f9a58440634  absl::lts\n"]
    line = f"error: {stderr_filter.LOST}\n".encode()
    assert list(stderr_filter.filter_stderr([*said, first, fatal, *trace])) == [*said, line]
    assert list(stderr_filter.filter_stderr([*said, fatal, *trace])) == [*said, line]
    assert list(stderr_filter.filter_stderr([*said, first, *trace])) == [*said, first, *trace]
