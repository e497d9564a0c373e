"""Fuzz one target: python tests/fuzz/run.py wire [options of libFuzzer, such as -max_total_time=600]

Needs `atheris` (pip install atheris). Starts from the committed corpus; what it finds goes to build/fuzz/TARGET, an
input that breaks something to build/fuzz/TARGET-crash-…: put that into tests/fuzz/corpus/TARGET, where a test replays
it. `--seeds` writes the target's own inputs into the committed corpus instead. A target is a module fuzz_NAME.py here,
with `target(data)`, which raises when something is wrong, and `seeds()`.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def fuzz(name: str, options: list[str]) -> None:
    try:
        import atheris
    except ModuleNotFoundError:
        raise SystemExit(
            "fuzzing needs the package atheris, which is not installed: .venv/bin/python -m pip install atheris "
            "(Linux and macOS, Python 3.11 to 3.13)"
        ) from None
    with atheris.instrument_imports(include=["parties", "mpc", "msgpack"]):
        target = importlib.import_module(f"fuzz_{name}").target
    found = ROOT / "build" / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    corpus = [str(found), str(HERE / "corpus" / name)]
    atheris.Setup([sys.argv[0], f"-artifact_prefix={found}-", "-max_len=70000", *options, *corpus], target)
    atheris.Fuzz()


def write_seeds(name: str) -> None:
    folder = HERE / "corpus" / name
    folder.mkdir(parents=True, exist_ok=True)
    for title, data in importlib.import_module(f"fuzz_{name}").seeds().items():
        (folder / title).write_bytes(data)


def main() -> None:
    names = sorted(p.stem.removeprefix("fuzz_") for p in HERE.glob("fuzz_*.py"))
    name, *options = sys.argv[1:] or [""]
    if name not in names:
        raise SystemExit(f"{__doc__}\nTargets: {', '.join(names)}")
    sys.path.insert(0, str(HERE))
    with contextlib.suppress(KeyboardInterrupt):
        write_seeds(name) if options == ["--seeds"] else fuzz(name, options)


if __name__ == "__main__":
    main()
