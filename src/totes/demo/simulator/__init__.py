"""A simulated business on a totesys: fills it, and drives it as the live one behaves.

prepare(dsn); bulk(dsn, orders=1_000, seed=1)
with Simulator(dsn, seed=1, mix=HOSTILE) as simulator:
    for event in simulator.run(rate=5, seconds=60):
        print(event.text)
"""

from totes.demo.simulator.business import HOSTILE, USUAL, Kind, Mix
from totes.demo.simulator.driving import Change, Event, Simulator
from totes.demo.simulator.filling import bulk, prepare, reported, seed_reference

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
    "reported",
    "seed_reference",
]
