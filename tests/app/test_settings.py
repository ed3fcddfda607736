import re
from pathlib import Path

from tunery.app.settings import Settings

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "operate.md"
DEPENDS_ON_THE_MACHINE = {"TUNERY_NODE_NAME"}


def test_the_guide_lists_every_setting_with_its_default() -> None:
    table = GUIDE.read_text().partition("## Settings")[2]
    rows = re.findall(r"^\| `(TUNERY_[A-Z_]+)` \|([^|]*)\|", table, re.MULTILINE)
    shown = {name: default.strip().strip("`") for name, default in rows}
    defaults = {
        f"TUNERY_{name.upper()}": "" if field.default is None else str(field.default)
        for name, field in Settings.model_fields.items()
    }
    assert len(shown) == len(rows)
    assert shown.keys() == defaults.keys()
    assert {name for name in shown if shown[name] != defaults[name]} == DEPENDS_ON_THE_MACHINE
