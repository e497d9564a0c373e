"""Where the parts meet: the protocols, the processes, and a person's script.

with parties.local(3) as ps:                                  # alice, bob, carol and a dealer, spawned
    run = ps.run(mean_age, patients={"alice": "a.csv", "bob": frame_or_array, "carol": "c.csv"})

with parties.connect("cluster.toml") as ps: ...               # the same on separate hosts
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpc.errors import UsageError
from mpc.memory import names_of
from parties import keys as keyfiles
from parties.cluster import COORDINATOR, load
from parties.declared import Declared
from parties.home import Home, actor_directory, settled
from parties.keys import NAME
from parties.launch.local import LocalLauncher
from parties.limits import Limits
from parties.machinery import Machinery, insecure_label, real
from parties.mesh import Tap
from parties.schema import load_schema
from parties.session import OnProgress, Pending, Run, Session

__all__ = ["OnProgress", "Pending", "Run", "Session", "connect", "local", "real_machinery"]


def local(
    parties: int | Sequence[str] = 3,
    *,
    state: str | Path | None = None,
    schema: str | Path | Declared | None = None,
    entropy: int | None = None,
    limits: Limits | None = None,
    on_send: Tap | None = None,
) -> Session:
    """Start parties and a dealer on this machine, each a process of its own: `with parties.local(3) as ps:`.

    parties: how many (alice, bob, carol ...), or their names. state: a directory where each of them keeps what outlives
    its process: checkpoints, kept secrets, stored material, its ledger and journal; without one it is gone with the
    session, and so is what could be resumed. schema: a schema file, or one that is read already; a label or key that a
    program names need not stand in it unless it has more than 20 values. entropy: a seed for the deterministic entropy
    of `mpc.testing`, which makes the session insecure and is part of every digest; leave it out. Raises UsageError for
    fewer than two parties or bad names, PeerError if a process does not start.
    """
    from protocols import catalog

    names = _checked(names_of(parties))
    insecure = insecure_label(entropy)
    coordinator = keyfiles.fresh()
    declared = load_schema(Path(schema)) if isinstance(schema, str | Path) else schema
    launcher = LocalLauncher(names, insecure, limits, Path(state) if state is not None else None, declared)
    try:
        cluster = launcher.start(coordinator.public)
        return Session(
            cluster,
            coordinator,
            real_machinery(),
            home=Home.open(actor_directory("coordinator", launcher.state), "coordinator"),
            catalog=catalog,
            launcher=launcher,
            insecure=insecure,
            limits=limits,
            on_send=on_send,
        )
    except BaseException:
        launcher.close()
        raise


def real_machinery() -> Machinery:
    """The engine, the dealer and the protocols that an actor runs."""
    from protocols import catalog, suites

    return real(suites, catalog)


def _checked(names: Sequence[str]) -> list[str]:
    if len(names) < 2:
        raise UsageError(f"at least 2 parties are needed, not {len(names)}: one party alone would see everything")
    for name in names:
        if not NAME.fullmatch(name) or name in {"coordinator", "dealer", "everyone"}:
            raise UsageError(f"{name!r} cannot name a party: small letters, digits, - and _, starting with a letter")
    if len(set(names)) != len(names):
        raise UsageError(f"parties need different names: {', '.join(names)}")
    return list(names)


def connect(
    cluster: str | Path,
    *,
    name: str = "coordinator",
    key: str | Path | None = None,
    state: str | Path | None = None,
    limits: Limits | None = None,
    on_send: Tap | None = None,
) -> Session:
    """Coordinate parties that were started on their own hosts (`privity party`, `privity dealer`).

    cluster: the cluster TOML. key: the coordinator's secret key, `NAME.secret` beside the cluster file unless given.
    state: the directory for what outlives this process (default: $PRIVITY_STATE, or privity under $XDG_STATE_HOME).
    Raises UsageError for a bad file or a key that the cluster does not name; unreachable parties are named by `run`.
    """
    from protocols import catalog

    path = Path(cluster)
    members = load(path)
    secret = Path(key) if key is not None else path.parent / f"{name}.secret"
    pair = keyfiles.load_secret(secret)
    if pair.public != members.member(COORDINATOR).public:
        raise UsageError(f"{path}: the coordinator's public key is another one than that of the key given")
    root = Path(state) if state is not None else None
    me = members.coordinator.name
    home = Home.open(settled(root, members.keys, members.digest()) / me, me)
    return Session(
        members,
        pair,
        real_machinery(),
        home=home,
        catalog=catalog,
        limits=limits,
        on_send=on_send,
        origin={"cluster": str(path.absolute()), "key": str(secret.absolute())},
    )
