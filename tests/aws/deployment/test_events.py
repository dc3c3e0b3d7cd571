"""How changes flow: by events, by schedules, and by events that are delivered twice."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from aws_platform import Platform
from lambda_functions import SCHEDULE, Call

pytestmark = pytest.mark.usefixtures("first_calls")


def test_a_change_without_last_updated_is_loaded_with_history(platform: Platform) -> None:
    order, units = 7, 4711
    platform.change_order(order, units)
    calls = platform.functions.run_stages()
    assert [len(call.batches) for call in calls] == [1, 1, 1]
    assert platform.loaded_units(order) == units
    versions = platform.query("SELECT FROM fact_sales_order WHERE sales_order_id = %s", order)
    assert len(versions) == 2
    platform.narrate("warehouse", f"order {order} has {units:,} units; its old version is kept")


def test_schedules_process_a_batch_whose_events_are_lost(platform: Platform) -> None:
    order, units = 8, 815
    platform.change_order(order, units)
    calls = [platform.functions.tick("ingest")]
    for stage in ("transform", "load"):
        lost = platform.functions.receive_events()
        assert [event.stage for event in lost] == [stage]
        platform.narrate("event", f"{lost[0].cause} is lost before it reaches {stage}")
        assert platform.loaded_units(order) != units
        calls.append(platform.functions.tick(stage))
    assert [call.cause for call in calls] == [SCHEDULE] * 3
    [batch] = calls[0].batches
    assert [call.batches for call in calls] == [[batch]] * 3
    assert platform.loaded_units(order) == units
    platform.narrate("warehouse", f"order {order} is current: the schedules replaced the events")


def test_repeated_and_concurrent_events_change_nothing(platform: Platform) -> None:
    functions = platform.functions
    order, units = 9, 1234
    platform.change_order(order, units)
    calls = [functions.tick("ingest")]
    transform_events = functions.receive_events()
    calls += [call for event in transform_events for call in functions.deliver(event)]
    load_events = functions.receive_events()

    with functions.new_sandbox("load") as second, ThreadPoolExecutor() as threads:
        event = load_events[0]
        sandboxes = (functions.warm["load"], second)
        responses = list(threads.map(lambda sandbox: sandbox.invoke(event.detail), sandboxes))
    concurrent = [Call("load", f"{event.cause}, delivered twice", one) for one in responses]
    for call in concurrent:
        platform.observe(call)
    assert all(call.response.error is None for call in concurrent)
    assert sorted(call.batches for call in concurrent) == [[], calls[0].batches]
    assert platform.loaded_units(order) == units

    before = platform.contents()
    repeated = [
        call for event in [*transform_events, *load_events] * 2 for call in functions.deliver(event)
    ]
    repeated += functions.deliver_events()
    assert all(call.response.error is None for call in repeated)
    assert [call.result["rows"] for call in repeated] == [0] * len(repeated)
    assert platform.contents() == before
    processed = [batch for call in (*calls, *concurrent, *repeated) for batch in call.batches]
    assert processed == calls[0].batches * 3  # once by each stage
    platform.narrate("warehouse", f"{len(repeated)} repeated events added no row and no object")
