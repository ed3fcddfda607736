"""Small programs in the place of Tunery's own, and `tunery up` with them: `python stand_ins.py DATA_DIR`."""

import sys
from pathlib import Path

from tunery.app.embedded.programs import NOT_FOR_NODES, PYTHON, Program
from tunery.app.settings import Settings
from tunery.app.up import run_up

API = """
import http.server, json, os

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        settings = {k: v for k, v in os.environ.items() if k.startswith("TUNERY_")}
        self.wfile.write(json.dumps({"nodes": 1, "settings": settings}).encode())

http.server.HTTPServer(("127.0.0.1", int(os.environ["TUNERY_PORT"])), Answer).serve_forever()
"""
SLEEP = "import time; time.sleep(600)"

STAND_INS = (Program("api", (*PYTHON, "-c", API)), Program("worker", (*PYTHON, "-c", SLEEP)))
NODE = Program("node", (*PYTHON, "-c", SLEEP), withheld=NOT_FOR_NODES)

# Keeps a test from starting the sandbox where it does not matter.
NO_SANDBOX = {"stripe_secret_key": "sk_test_x", "stripe_webhook_secret": "whsec_x"}

if __name__ == "__main__":
    sys.exit(run_up(Settings(_env_file=None, port=0, **NO_SANDBOX), Path(sys.argv[1]), STAND_INS))
