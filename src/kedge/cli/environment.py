"""What `kedge env` prints: the variables that turn an unmodified SDK towards this server. PURE."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

SHELLS = ("bash", "fish", "powershell")
NO_PROXY = ("NO_PROXY", "no_proxy")

LEFTOVERS = (
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_SAGEMAKER",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_IAM",
    "AWS_ENDPOINT_URL_KMS",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)
"""Unset: each of them would go before what is exported, or make it invalid. Source: botocore/configprovider.py."""

EXPORTED = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "SAGEMAKER_USER_CONFIG_OVERRIDE",
    "SAGEMAKER_ROLE_ARN",
)
"""In this order. Node.js takes no AWS_CA_BUNDLE. SAGEMAKER_ROLE_ARN stands for the SDK's get_execution_role()."""

_NUMERIC = {"localhost": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (where to connect, not to listen)


def by_number(url: str) -> str:
    """The address with an IP instead of localhost or "every interface": no name lookup, no virtual-host buckets."""
    parts = urlsplit(url)
    host = _NUMERIC.get(parts.hostname or "", parts.hostname or "")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port}"


def with_host(no_proxy: str, host: str) -> str:
    """The value of NO_PROXY with `host`: at the end, unless it is in it already."""
    hosts = _hosts(no_proxy)
    return ",".join(hosts if host in hosts else [*hosts, host])


def without_host(no_proxy: str, host: str) -> str:
    """The value of NO_PROXY without `host` at its end, where `with_host` puts it. Elsewhere somebody else put it."""
    hosts = _hosts(no_proxy)
    return ",".join(hosts[:-1] if hosts[-1:] == [host] else hosts)


def exports(values: Mapping[str, str], shell: str) -> list[str]:
    if shell == "fish":
        return [f"set -gx {name} {_fish(value)};" for name, value in values.items()]
    if shell == "powershell":
        return [f"$env:{name} = {_powershell(value)}" for name, value in values.items()]
    return [f"export {name}={shlex.quote(value)}" for name, value in values.items()]


def unsets(names: Sequence[str], shell: str) -> list[str]:
    if shell == "fish":
        return [f"set -e {name};" for name in names]
    if shell == "powershell":
        return [f"Remove-Item Env:{name} -ErrorAction SilentlyContinue" for name in names]
    return [f"unset {name}" for name in names]


def sdk_configuration(bucket: str, role_arn: str) -> str:
    """The SageMaker SDK's file of defaults (YAML): its bucket and role, and no reports to its makers.

    Source: the configuration schema of the SDK, sagemaker/config/config_schema.py. It allows no further keys.
    """
    return (
        "SchemaVersion: '1.0'\n"
        "SageMaker:\n"
        "  Model:\n"
        f"    ExecutionRoleArn: '{role_arn}'\n"
        "  PythonSDK:\n"
        "    Modules:\n"
        "      Session:\n"
        f"        DefaultS3Bucket: '{bucket}'\n"
        "      TelemetryOptOut: true\n"
    )


def _hosts(no_proxy: str) -> list[str]:
    return [each for each in (part.strip() for part in no_proxy.split(",")) if each]


def _fish(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _powershell(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
