"""The replica: a DuckDB file with the star tables of the warehouse as of one snapshot.

It is a cache, and the file may be deleted while no dashboard uses it. A refresh reads the rows that
have changed in the warehouse since the last one: triggers record their keys in `totes.changes`. A
table of which not all changes are recorded is copied again.
"""

from totes.dashboard.replica.refresh import State, stored_state
from totes.dashboard.replica.replica import Replica, open_replica, replica_folder

__all__ = ["Replica", "State", "open_replica", "replica_folder", "stored_state"]
