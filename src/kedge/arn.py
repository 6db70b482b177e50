"""Build and parse Amazon resource names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arn:
    """arn:aws:{service}:{region}:{account}:{resource}; region and account are empty for global resources."""

    service: str
    region: str
    account: str
    resource: str

    def __str__(self) -> str:
        return f"arn:aws:{self.service}:{self.region}:{self.account}:{self.resource}"


def parse(text: str) -> Arn:
    """Raises ValueError when `text` is no ARN."""
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or not parts[2] or not parts[5]:
        raise ValueError(f'"{text}" is not an ARN (arn:partition:service:region:account:resource)')
    return Arn(parts[2], parts[3], parts[4], parts[5])


def sagemaker(region: str, account: str, kind: str, name: str) -> str:
    """A hosting resource's ARN. SageMaker writes the name in lower case, whatever case Describe answers with."""
    return str(Arn("sagemaker", region, account, f"{kind}/{name.lower()}"))


def log_group(region: str, account: str, name: str) -> str:
    return str(Arn("logs", region, account, f"log-group:{name}"))


def log_stream(region: str, account: str, group: str, stream: str) -> str:
    return f"{log_group(region, account, group)}:log-stream:{stream}"
