"""A simulated business: fills a totesys, and writes to it as the live application does.

prepare(dsn); bulk(dsn, orders=1_000, seed=1, last_day=date.today() - timedelta(days=1))
with Simulator(dsn, seed=1, mix=HOSTILE, clock=wall_clock) as simulator:
    for event in simulator.run(rate=5, seconds=60):
        print(event.text)
"""

from totes.demo.simulator.business import HOSTILE, USUAL, Kind, Mix
from totes.demo.simulator.driving import Change, Event, Simulator, wall_clock
from totes.demo.simulator.filling import bulk, prepare, seed_reference, totesys_errors

__all__ = [
    "HOSTILE",
    "USUAL",
    "Change",
    "Event",
    "Kind",
    "Mix",
    "Simulator",
    "bulk",
    "prepare",
    "seed_reference",
    "totesys_errors",
    "wall_clock",
]
