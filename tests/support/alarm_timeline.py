"""The metrics of a day on AWS: those that the handlers log, and those that AWS adds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudwatch_alarms import Metrics, Series

from totes.stages.runner import STAGES

EVERY_MINUTES = 5
"""The schedules' default."""

STARTS: Mapping[str, float] = {"ingest": 0, "transform": 1.5, "load": 3}
"""When each stage is called in these minutes; events call transform and load once more, at most."""

JITTER_MINUTES = (0, 0.4, 0.8)
"""Schedules have a precision of a minute."""

DELAY_MINUTES = 3
"""Until CloudWatch has Lambda's counts of a call: it gets them each minute; the log is faster."""

HEALTHY: Mapping[str, Mapping[str, float]] = {
    "warehouse": {"FreeStorageSpace": 15e9, "CPUUtilization": 20},
    "totesys": {"OldestReplicationSlotLag": 1e6},
    "dashboard": {"HealthyHostCount": 2},
    "publishing": {},
}
"""AWS's metrics of the instances of RDS, of the dashboard's load balancer, and of the rule that
matches tasks that fail to publish: it has none before it matches."""


@dataclass(frozen=True)
class Call:
    """A call of a stage: what its handler has logged, and what AWS counts.

    Without `metrics` the call was killed. `memory` is the used part of the function's.
    """

    metrics: Mapping[str, float] | None
    is_failed: bool = False
    is_made: bool = True
    is_refused: bool = False
    minutes: float = 0.5
    memory: float = 0.3

    @property
    def is_done(self) -> bool:
        """Whether the stage has done its work: it knows how old the data are."""
        return self.is_made and not self.is_failed and "LagSeconds" in (self.metrics or {})


Calls = Mapping[str, Call]
"""A call of each stage."""


@dataclass(frozen=True)
class Phase:
    """Minutes in which all calls are the same. What is None sends no metrics."""

    minutes: int
    calls: Calls
    others: Mapping[str, Mapping[str, float] | None] = field(default_factory=lambda: HEALTHY)


class Timeline:
    """The metrics of phases, one after the other."""

    def __init__(self, environment: str, memory_mb: float, *, zeros: bool) -> None:
        """`zeros`: Lambda counts no failure as 0; its documentation has said both."""
        self.metrics = Metrics()
        self.minute = 0
        self._environment = environment
        self._memory_mb = memory_mb
        self._zeros = zeros
        self._data_at = dict.fromkeys(STAGES, 0.0)
        """How new the data are that each stage has processed."""

    def add(self, phase: Phase) -> None:
        """Add the metrics of a phase."""
        for cycle in range(self.minute, self.minute + phase.minutes, EVERY_MINUTES):
            jitter = JITTER_MINUTES[cycle // EVERY_MINUTES % len(JITTER_MINUTES)]
            for stage, start in STARTS.items():
                self._add_call(stage, phase.calls[stage], cycle + start + jitter)
            for other, metrics in phase.others.items():
                for metric, value in (metrics or {}).items():
                    self.metrics.add(self._series_of(other, metric), cycle, value)
        self.minute += phase.minutes

    def _series_of(self, other: str, metric: str) -> Series:
        if other == "dashboard":  # its dimensions are not known in a plan
            return Series("AWS/ApplicationELB", metric, frozenset())
        if other == "publishing":
            rule = f"totes-{self._environment}-publish-failed"
            return Series("AWS/Events", metric, frozenset({("RuleName", rule)}))
        name = f"totes-{self._environment}" if other == "warehouse" else other
        return Series("AWS/RDS", metric, frozenset({("DBInstanceIdentifier", name)}))

    def _add_call(self, stage: str, call: Call, start: float) -> None:
        """AWS's metrics have the time of a call's start and come at its end; ours have its end."""
        end = start + call.minutes
        function = frozenset({("FunctionName", f"totes-{self._environment}-{stage}")})
        counts = {
            "Invocations": call.is_made,
            "Errors": call.is_made and call.is_failed,
            "Throttles": call.is_refused,
        }
        for name, is_counted in counts.items():
            if is_counted or (self._zeros and call.is_made):
                self.metrics.add(
                    Series("AWS/Lambda", name, function), start, is_counted, end + DELAY_MINUTES
                )
        if not call.is_made:
            return
        memory = Series("totes", f"MemoryUsed-{self._environment}-{stage}", frozenset())
        self.metrics.add(memory, end, call.memory * self._memory_mb)
        own = frozenset({("service", stage), ("environment", self._environment)})
        values = dict(call.metrics or {})
        if call.is_done:
            previous = STAGES[STAGES.index(stage) - 1]
            self._data_at[stage] = start if stage == "ingest" else self._data_at[previous]
            values["LagSeconds"] = 60 * (end - self._data_at[stage])
        for name, value in values.items():
            self.metrics.add(Series("totes", name, own), end, value)
