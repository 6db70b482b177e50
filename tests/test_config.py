"""Settings: read once, refused with a sentence, documented."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from kedge import config

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"


def test_every_setting_is_documented_with_its_default():
    page = DOCS.read_text()
    for field in fields(config.Settings):
        default = config.read({}).as_environment().get(config.variable(field.name), "") or "(empty)"
        assert f"| `{config.variable(field.name)}` | `{default}` |" in page


def test_a_flag_goes_before_the_variable():
    settings = config.read({"KEDGE_API_PORT": "1000", "KEDGE_REGION": "eu-west-1"}, api_port=2000, host=None)
    assert (settings.api_port, settings.region, settings.host) == (2000, "eu-west-1", "127.0.0.1")


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("KEDGE_API_PORT", "many", 'KEDGE_API_PORT is "many"; it has to be a whole number'),
        ("KEDGE_CPU_OVERCOMMIT", "some", "has to be a number"),
        ("KEDGE_API_PORT", "70000", "a port is 0 to 65535"),
        ("KEDGE_ACCOUNT_ID", "12", "an account has 12 digits"),
        ("KEDGE_REGION", "mars", "a region looks like us-east-1"),
        ("KEDGE_ROOT_ACCESS_KEY", "AKIA1", "set both or neither"),
        ("KEDGE_TLS", "perhaps", "has to be true or false"),
        ("KEDGE_ROUTERS", "0", "at least 1"),
        ("KEDGE_HISTORY_DAYS", "0", "1 to 36500"),
        ("KEDGE_BODY_LIMIT_BYTES", "-1", "above 0"),
        ("KEDGE_INVOCATION_TIMEOUT_S", "nan", "above 0"),
        ("KEDGE_OTLP_ENDPOINT", "127.0.0.1:4318", "has to be like http://127.0.0.1:4318"),
        ("KEDGE_OTLP_ENDPOINT", "http://user:password@collector", "has to be like"),
        ("KEDGE_OTLP_ENDPOINT", "http://collector:4318/?x=1", "has to be like"),
        ("KEDGE_OTLP_ENDPOINT", "http://collector:99999", "has to be like"),
        ("KEDGE_OTLP_ENDPOINT", "http://collector..example", "has to be like"),
        ("KEDGE_OTLP_ENDPOINT", "http://[::1::]", "has to be like"),
        ("KEDGE_OTLP_ENDPOINT", "ftp://collector", "has to be like"),
        ("KEDGE_OTLP_HEADERS", "a=1,b", "number 2 cannot be a header"),
        ("KEDGE_OTLP_HEADERS", "a=1%0d%0ab: 2", "number 1 cannot be a header"),
    ],
)
def test_a_value_that_cannot_be_is_refused(variable, text, says):
    with pytest.raises(config.SettingError, match=says):
        config.read({variable: text})


@pytest.mark.parametrize("url", ["http://127.0.0.1:4318", "https://collector.example/otel/", "http://[::1]:4318"])
def test_where_a_collector_may_be(url):
    assert config.read({"KEDGE_OTLP_ENDPOINT": url}).otlp_endpoint == url


def test_headers_are_read_as_opentelemetry_writes_them():
    assert config.header_pairs("") == {}
    assert config.header_pairs("Authorization=Basic%20YTpi, x-scope = a=b") == {
        "Authorization": "Basic YTpi",
        "x-scope": "a=b",
    }


def test_without_signatures_only_loopback_listens():
    with pytest.raises(config.SettingError, match="loopback"):
        config.read({"KEDGE_AUTH_REQUIRED": "false", "KEDGE_HOST": "0.0.0.0"})


def test_a_child_reads_the_same_settings_without_the_root_key():
    settings = config.read({"KEDGE_TLS": "yes", "KEDGE_ROOT_ACCESS_KEY": "A", "KEDGE_ROOT_SECRET_KEY": "B"})
    passed = settings.as_environment()
    assert "B" not in passed.values()
    assert config.read(passed).tls is True
