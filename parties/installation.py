"""Whether `mpc`, `parties` and `protocols` are ours: short names, which another distribution may have as well."""

from __future__ import annotations

from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

__all__ = ["conflicts"]

_PACKAGES = ("mpc", "parties", "protocols")


def conflicts() -> list[str]:
    """One sentence for each package that another distribution owns or shadows."""
    home = Path(__file__).resolve().parent.parent
    owners = packages_distributions()
    found = []
    for package in _PACKAGES:
        others = sorted(set(owners.get(package, [])) - {"privity"})
        spec = find_spec(package)
        place = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if others:
            found.append(
                f"the package {package!r} is also installed by {', '.join(others)}, and one overwrites the other; "
                "install privity in an environment of its own"
            )
        elif place is not None and place != home:
            found.append(
                f"{package!r} is imported from {place}, not from privity's own {home}; remove it from the path, or "
                "start privity from another directory"
            )
    return found
