import subprocess
import sys
from pathlib import Path

from tunery.app.schema import schema

COMMITTED = Path(__file__).parents[2] / "schema.graphql"


def test_the_committed_schema_is_the_one_served():
    assert COMMITTED.read_text().strip() == schema.as_str().strip(), "run `tunery schema > schema.graphql`"


def test_the_api_starts_without_the_training_stack():
    program = (
        "import sys, tunery.app.application, tunery.app.processes\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'bitsandbytes') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
