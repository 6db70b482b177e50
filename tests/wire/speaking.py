"""Clients of one service in a protocol that they would not choose by themselves, as older and other SDKs do."""

from __future__ import annotations

from typing import Any

import botocore.session
from botocore.config import Config

PROTOCOLS = ("query", "json", "smithy-rpc-v2-cbor")
"""Of CloudWatch."""


def speaking(protocol: str, service: str, **address: Any) -> Any:
    """A botocore client that was given no choice of protocol."""
    session = botocore.session.get_session()
    loader = session.get_component("data_loader")
    load = loader.load_service_model

    def with_one_protocol(service_name: str, type_name: str, api_version: str | None = None) -> Any:
        model = load(service_name, type_name, api_version)
        if type_name != "service-2":
            return model
        return {**model, "metadata": {**model["metadata"], "protocol": protocol, "protocols": [protocol]}}

    loader.load_service_model = with_one_protocol
    return session.create_client(service, **address, config=Config(retries={"total_max_attempts": 1}))
