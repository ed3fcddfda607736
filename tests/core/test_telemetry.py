import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tunery.core.telemetry import Sampler

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


def test_so_many_a_second_and_no_more():
    sampler = Sampler(2)
    taken = [moment for moment in range(100) if sampler.wants((), moment / 10)]
    assert taken == list(range(0, 100, 5))
    assert not any(Sampler(0).wants((), moment) for moment in (0, 1e12))


@pytest.mark.parametrize(
    ("flags", "sampled"),
    [(b"01", True), (b"03", True), (b"ff", True), (b"00", False), (b"02", False), (b"", False), (b"1", False)],
)
def test_a_callers_own_decision_is_followed(flags: bytes, sampled: bool):
    assert Sampler(1).wants([(b"host", b"x"), (b"traceparent", TRACE + flags)], 0) == sampled


def test_callers_cannot_make_tracing_dear():
    sampler = Sampler(1)
    followed = [moment for moment in range(50) if sampler.wants([(b"traceparent", TRACE + b"01")], moment / 10)]
    assert followed == [0, 10, 20, 30, 40]
    assert sampler.wants((), 0)


def test_looking_takes_nothing():
    sampler = Sampler(1)
    assert all(sampler.is_due(0) for _ in range(3))
    assert sampler.wants((), 0)
    assert not sampler.is_due(0.5)


def test_counters_are_sent_to_the_collector_at_the_latest_when_the_process_ends():
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    Thread(target=collector.serve_forever, daemon=True).start()
    program = (
        "import contextlib, sys\n"
        "from tunery.core.telemetry import start_metrics\n"
        "from tunery.vault.sealing import UnsealingFailed, unseal\n"
        "provider = start_metrics(sys.argv[1], 'worker')\n"
        "with contextlib.suppress(UnsealingFailed):\n"
        "    unseal(bytes(32), b'here', b'torn')\n"
        "provider.shutdown()\n"
    )
    endpoint = f"http://127.0.0.1:{collector.server_port}/v1/metrics"
    subprocess.run([sys.executable, "-c", program, endpoint], check=True, capture_output=True, timeout=60)
    collector.shutdown()
    collector.server_close()
    assert {path for path, _ in received} == {"/v1/metrics"}
    sent = b"".join(body for _, body in received)
    for word in (b"tunery.unsealing.refused", b"stream", b"tunery worker"):
        assert word in sent
