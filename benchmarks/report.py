"""What a benchmark found, for a person's eyes and for a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def tell(report: dict[str, Any], path: Path | None) -> None:
    """Print it as JSON; write the same to `path` where there is one."""
    text = json.dumps(report, indent=1)
    print(text)
    if path:
        path.write_text(text + "\n", encoding="utf-8")
