"""What an actor must not forget: files and SQLite only; no sockets, no threads, no protocol.

with Home.open(actor_directory("alice"), "alice") as home:
    home.ledger.begin(run, home.ledger.next_attempt(run), session, program="fit", digest=digest, role="party")
    home.ledger.reserve(session, [Stream(key_id(seed))])      # on the disk before a mask is drawn
    home.journal.reveals(run, 1, "fit", digest, [("intended", reveal)])     # on the disk before a share is sent
"""

from parties.home.checkpoints import Checkpoint
from parties.home.errors import AlreadyUsed, HomeError
from parties.home.handles import Handle
from parties.home.home import Home
from parties.home.journal import Row, Verdict
from parties.home.ledger import Attempt, Stream, key_id
from parties.home.materials import Material
from parties.home.places import LOCAL, actor_directory, state_root
from parties.home.runs import StoredRun
from parties.home.worlds import party_directory, settled, world_of

__all__ = [
    "LOCAL",
    "AlreadyUsed",
    "Attempt",
    "Checkpoint",
    "Handle",
    "Home",
    "HomeError",
    "Material",
    "Row",
    "StoredRun",
    "Stream",
    "Verdict",
    "actor_directory",
    "key_id",
    "party_directory",
    "settled",
    "state_root",
    "world_of",
]
