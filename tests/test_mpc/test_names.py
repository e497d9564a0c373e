"""What `import mpc` offers: a name that comes or goes is meant to."""

from __future__ import annotations

import json
from pathlib import Path

import mpc


def test_the_names_of_the_language() -> None:
    known = json.loads((Path(__file__).parent / "vectors" / "names.json").read_text())
    assert sorted(mpc.__all__) == known
    assert all(hasattr(mpc, name) for name in known)
