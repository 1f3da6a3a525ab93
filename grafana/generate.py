#!/usr/bin/env python3
"""Writes the dashboards in grafana/dashboards/manimq from grafana/source.

usage: grafana/generate.py [--check]     --check: only says whether the files are up to date
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

from source.overview import overview  # noqa: E402
from source.prompts import prompts  # noqa: E402
from source.queue import queue  # noqa: E402
from source.service import service  # noqa: E402
from source.tenant import tenant  # noqa: E402
from source.workers import workers  # noqa: E402

FOLDER = HERE / "dashboards" / "manimq"
DASHBOARDS = (overview, queue, workers, service, prompts, tenant)


def files() -> dict[Path, str]:
    """Each file and what must be in it."""
    return {
        FOLDER / f"{dashboard.uid.removeprefix('manimq-')}.json":
            json.dumps(dashboard.json(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        for dashboard in DASHBOARDS
    }


def main() -> int:
    arguments = sys.argv[1:]
    if arguments not in ([], ["--check"]):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    wanted = files()
    stale = [path for path in FOLDER.glob("*.json") if path not in wanted]
    stale += [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if arguments:
        for path in stale:
            print(f"{path.relative_to(HERE.parent)} is not what grafana/source says: run grafana/generate.py")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.unlink(missing_ok=True)
    for path, text in wanted.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
