"""The running server as a client sees it: addresses and keys from the data directory, clients made by boto3."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kedge.cli.failures import Failed, NotRunning
from kedge.config import DEFAULTS
from kedge.identity.records import EXECUTION_ROLE

if TYPE_CHECKING:
    import boto3


@dataclass(frozen=True)
class Server:
    data_dir: Path
    api_url: str
    inference_url: str
    account: str
    region: str
    access_key_id: str
    secret_access_key: str
    ca_bundle: str = ""
    """PEM file that vouches for the server's certificate; empty without TLS."""

    @classmethod
    def of(cls, ready: dict[str, Any]) -> Server:
        """From the line that `kedge up --json` prints."""
        names = ("api_url", "inference_url", "account", "region", "access_key_id", "secret_access_key")
        return cls(
            data_dir=Path(ready["data_dir"]), ca_bundle=ready.get("ca_bundle") or "", **{n: ready[n] for n in names}
        )

    @property
    def bucket(self) -> str:
        return f"sagemaker-{self.region}-{self.account}"

    @property
    def role_arn(self) -> str:
        """The execution role that exists from the start."""
        return f"arn:aws:iam::{self.account}:role/{EXECUTION_ROLE}"

    @cached_property
    def session(self) -> boto3.Session:
        """The root key's session. Profiles and settings of the caller's own AWS account have no part in it.

        One for all clients: each new session reads botocore's models again, which takes longer than a deployment.
        """
        import boto3
        import botocore.session

        ours = {
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
        return boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
            botocore_session=botocore.session.Session(session_vars=ours),
        )

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client of this server; `options` are boto3's, and go first."""
        from botocore.config import Config

        # A proxy of the environment is for the way out; this server is near.
        own = Config(proxies={}, connect_timeout=5, retries={"total_max_attempts": 3, "mode": "standard"})
        if service == "s3":
            own = own.merge(Config(s3={"addressing_style": "path"}))
        given = options.pop("config", None)
        chosen: dict[str, Any] = {
            "endpoint_url": self.inference_url if service == "sagemaker-runtime" else self.api_url,
            "verify": self.ca_bundle or None,
            "config": own.merge(given) if given else own,
            **options,
        }
        make: Any = self.session.client  # the published types know each service by a literal name
        return make(service, **chosen)

    def ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """One of Kedge's own routes under /kedge/, signed by the root key. Raises Failed with what the server says."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import HTTPClientError
        from botocore.httpsession import URLLib3Session

        data = b"" if body is None else json.dumps(body).encode()
        request = AWSRequest(method, f"{self.api_url}{path}", data=data, params=dict(query or {}))
        credentials = self.session.get_credentials()
        assert credentials is not None
        SigV4Auth(credentials, "sagemaker", self.region).add_auth(request)
        verify: Any = self.ca_bundle or True  # a path is allowed, which the published type does not say
        session = URLLib3Session(verify=verify, timeout=30)
        try:
            answer = session.send(request.prepare())
        except HTTPClientError as error:
            raise Failed(f"The server at {self.api_url} does not answer: {error}") from None
        finally:
            session.close()
        try:
            said = json.loads(answer.content or b"{}")
        except ValueError:
            said = {}
        if answer.status_code >= 300:
            raise Failed(said.get("message") or f"The server answered {method} {path} with {answer.status_code}.")
        return dict(said)


def data_folder(chosen: Path | None) -> Path:
    """--data, else KEDGE_DATA_DIR, else the default; absolute."""
    return (chosen or Path(os.environ.get("KEDGE_DATA_DIR") or DEFAULTS.data_dir)).expanduser().absolute()


def find(chosen: Path | None) -> Server:
    """The server of this data directory. Raises NotRunning when none answers there."""
    folder = data_folder(chosen)
    try:
        run = json.loads((folder / "run.json").read_bytes())
        node = json.loads((folder / "node.json").read_bytes())
        keys = json.loads((folder / "credentials.json").read_bytes())
        server = Server(
            data_dir=folder,
            api_url=run["api_url"].rstrip("/"),
            inference_url=run["inference_url"].rstrip("/"),
            account=node["account"],
            region=node["region"],
            access_key_id=keys["access_key_id"],
            secret_access_key=keys["secret_access_key"],
            ca_bundle=run.get("ca_bundle") or "",
        )
    except FileNotFoundError:
        raise NotRunning(f"No server is running with the data directory {folder}; start it with `kedge up`.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Failed(f"The files of the data directory {folder} are damaged; `kedge down`, then `kedge up`.") from None
    if not listens(server.api_url):
        raise NotRunning(f"The server of {folder} does not answer at {server.api_url}; start it with `kedge up`.")
    return server


def listens(url: str) -> bool:
    """Whether anyone accepts connections there. A server whose control process restarts still does."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2).close()
    except OSError:
        return False
    return True
