from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def sns(kedge) -> Any:
    return kedge.client("sns")


@pytest.fixture
def topic(sns) -> str:
    return sns.create_topic(Name="alerts")["TopicArn"]
