"""What is scraped of a component: its own series, with its name as a label."""

from __future__ import annotations

from datetime import UTC, datetime

from kedge.clock import HandClock
from kedge.metrics.totals import Totals
from kedge.serving.meter import Meter, Place, decode

PLACE = Place("1" * 12, "us-east-1", "e/c", "v", "i-1")


def test_the_series_of_a_component_name_it_beside_its_endpoint():
    totals = Totals(HandClock(datetime(2026, 1, 2, tzinfo=UTC)))
    meter = Meter("boot")
    meter.invocation(PLACE, 200, 1, 1000.0, 10.0)
    totals.take(decode(meter.roll(1)))
    (invocations,) = [each for each in totals.families([PLACE.of_variant]) if each.name == "kedge_endpoint_invocations"]
    labels = {
        "endpoint_name": "e",
        "variant_name": "v",
        "inference_component_name": "c",
        "account_id": "1" * 12,
        "region": "us-east-1",
    }
    assert invocations.samples == [(labels, 1)]
