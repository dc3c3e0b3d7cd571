"""The function that stores exchange rates, with permissions checked."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from aws_inventory import objects
from aws_platform import Platform
from rates_files import DAY, NEW_YEAR, csv, zipped
from rates_server import RatesServer, respond_with, serve_rates

pytestmark = pytest.mark.usefixtures("first_calls")

NEWEST = datetime.now(UTC).date() - DAY
FILE = zipped(csv({**NEW_YEAR, NEWEST: {"USD": "1.2345"}}))


@pytest.fixture
def ecb() -> Iterator[RatesServer]:
    with serve_rates() as server:
        server.respond = respond_with(FILE)
        yield server


def test_the_function_stores_a_file_once_and_ingest_can_read_it(
    platform: Platform, ecb: RatesServer
) -> None:
    bucket = platform.outputs["ingestion_bucket"]
    before = objects(platform.moto, bucket).keys()
    function = platform.functions.sandbox_of(
        platform.outputs["rates_function"], {"TOTES_RATES_URL": ecb.url}
    )
    assert function.function.handler == "totes.aws.rates.handler"
    with function, platform.moto.permissions_checked():
        for _ in range(2):  # it may not read the file that exists the second time
            assert function.invoke({}).value == {"day": str(NEWEST)}
        store = platform.moto.client("s3", platform.functions.roles["ingest"])
        [listed] = store.list_objects_v2(Bucket=bucket, Prefix="rates/")["Contents"]
        stored = store.get_object(Bucket=bucket, Key=listed["Key"])["Body"].read()
    assert listed["Key"] == f"rates/{NEWEST}.zip"
    assert stored == FILE
    assert len(objects(platform.moto, bucket).keys() - before) == 1
    assert platform.functions.receive_events() == [], "a file of rates is no batch"
    ingest = platform.functions.by_stage["ingest"]
    assert ingest.environment["TOTES_RATES_URL"] == f"s3://{bucket}/rates"
    platform.narrate("rates", f"the ECB's of {NEWEST} are stored, once")
