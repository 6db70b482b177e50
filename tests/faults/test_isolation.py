"""Models that try to get out of their instance, each in the way its name says, on a real server."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kedge.home import run_folder

from .conftest import Server, archive, until, variant

SCRIPT = Path(__file__).with_name("intruder.py").read_bytes()
ROLE = "kedge-execution-role"


def host(server: Server, name: str, *, role: str | None = ROLE, wait: bool = True, **model: Any) -> None:
    """An endpoint whose model is the intruder."""
    server.client("s3").put_object(
        Bucket=server.bucket, Key=f"{name}.tar.gz", Body=archive({"code/inference.py": SCRIPT, "mine": name.encode()})
    )
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=f"arn:aws:iam::{server.ready['account']}:role/{role}",
        PrimaryContainer={"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{server.bucket}/{name}.tar.gz"},
        **model,
    )
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant(name)])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    if wait:
        sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )


def attempt(server: Server, endpoint: str, name: str, *arguments: Any) -> dict[str, Any]:
    answer = server.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, ContentType="application/json", Body=json.dumps([name, *arguments])
    )
    found = json.loads(answer["Body"].read())
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def prison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two intruders: "one" attacks, "two" is the neighbour."""
    server = Server(tmp_path_factory.mktemp("prison") / "data").up()
    try:
        for name in ("one", "two"):
            host(server, name, wait=False)
        for name in ("one", "two"):
            server.client("sagemaker").get_waiter("endpoint_in_service").wait(
                EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
            )
        yield server
    finally:
        server.down()


@pytest.fixture(scope="module", autouse=True)
def _sandbox(prison: Server) -> None:
    capabilities = prison.status()["capabilities"]
    if not all(capabilities[name] for name in ("mount_namespace", "pid_namespace", "network_namespace", "seccomp")):
        pytest.skip("this machine has not every layer")


def instance(server: Server, endpoint: str) -> dict[str, Any]:
    return next(each for each in server.status()["instances"] if each["labels"]["endpoint"] == endpoint)


def test_what_models_do_goes_on_working(prison: Server):
    echo, threads, cores, core_limit, files = attempt(prison, "one", "useful", None)["got"]
    assert (echo, threads, cores, core_limit, files) == ("hello", [1], True, 0, 2)
    assert (
        "said through /dev/stdout" in (prison.data / "tasks" / instance(prison, "one")["id"] / "output.log").read_text()
    )


def test_files_of_the_server_are_not_there(prison: Server):
    other = instance(prison, "two")
    mine = instance(prison, "one")
    hidden = [
        prison.data / "credentials.json",
        prison.data / "kedge.db",
        prison.data / "routing.json",
        prison.data / "tasks" / other["id"] / "work",
        prison.data / "tasks" / mine["id"] / "record.json",
        Path(other["socket"]),
        Path("/root/.ssh"),
        Path("/home"),
        Path("/var"),
        Path("/etc/shadow"),
        Path("/sys/fs"),
    ]
    for path in hidden:
        assert attempt(prison, "one", "read", str(path)).get("refused") in ("FileNotFoundError", "PermissionError"), (
            path
        )
    assert attempt(prison, "one", "listing", str(prison.data))["got"] == ["artifacts", "compiled", "tasks"]
    assert attempt(prison, "one", "listing", str(prison.data / "tasks"))["got"] == [mine["id"]]
    (own,) = attempt(prison, "one", "listing", str(prison.data / "artifacts"))["got"]
    assert own == mine["labels"]["artifacts"] != other["labels"]["artifacts"]
    assert attempt(prison, "one", "listing", str(prison.data / "compiled"))["got"] == [own]
    assert attempt(prison, "one", "read", "/opt/ml/model/mine")["got"] == "one"


@pytest.mark.parametrize(
    "path",
    ["/x", "/etc/passwd", "/usr/x", "/opt/ml/model/x", "/opt/ml/model/mine", "/dev/x", "/proc/self/oom_score_adj"],
)
def test_nothing_is_written_outside_its_own_folders(prison: Server, path: str):
    assert "refused" in attempt(prison, "one", "write", path)


def test_its_folder_of_sockets_holds_nothing_else(prison: Server):
    folder = Path(instance(prison, "one")["socket"]).parent
    assert "refused" in attempt(prison, "one", "write", str(folder / "x"))


def test_no_socket_of_anybody_else_can_be_connected_to(prison: Server):
    run = run_folder(prison.data)
    names = ["supervisor.sock", "control.sock", "router-0.sock"]
    for path in [*(str(run / name) for name in names), instance(prison, "two")["socket"]]:
        assert Path(path).exists()
        assert attempt(prison, "one", "connect", path)["refused"] == "FileNotFoundError"
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"kedge-test-{os.getpid()}"
        listener.bind("\0" + name)
        listener.listen()
        assert "refused" in attempt(prison, "one", "connect_abstract", name)


def test_no_network_but_the_server(prison: Server):
    with socket.create_server(("127.0.0.1", 0)) as service:
        assert "refused" in attempt(prison, "one", "connect_tcp", "127.0.0.1", service.getsockname()[1])
    assert "refused" in attempt(prison, "one", "connect_tcp", "192.0.2.1", 80)
    assert attempt(prison, "one", "network_devices", None)["got"] == ["lo"]
    for port in (prison.ready["api_port"], prison.ready["inference_port"]):
        assert attempt(prison, "one", "connect_tcp", "127.0.0.1", port)["got"] == "connected"
    for name in ("raw_socket", "netlink"):
        assert attempt(prison, "one", name, None)["refused"] == "PermissionError"


def test_no_process_but_its_own_is_seen_signalled_or_traced(prison: Server):
    # Python is the resource tracker of shared memory, which an earlier test used.
    assert set(attempt(prison, "one", "processes", None)["got"]) <= {"kedge-gate", "kedge-instance", "python"}
    status = prison.status()
    others = [each["pid"] for each in (*status["roles"], instance(prison, "two"))]
    before = prison.pids("instance")
    for pid in others:
        for name in ("signal_to", "ptrace", "memory_of", "environment_of", "root_of"):
            assert "refused" in attempt(prison, "one", name, pid), (name, pid)
    # Its own gate is the only one it sees.
    for name in ("ptrace", "memory_of", "environment_of", "root_of"):
        assert attempt(prison, "one", name, 1)["refused"] == "PermissionError", name
    assert attempt(prison, "one", "gate_descriptors", None)["got"] == []
    attempt(prison, "one", "signal_to", 1)
    assert prison.pids("instance") == before


@pytest.mark.parametrize(
    "name",
    ["mount", "new_user_namespace", "new_user_namespace_by_clone", "become_root", "make_device", "kernel_setting"],
)
def test_no_right_can_be_gained(prison: Server, name: str):
    assert attempt(prison, "one", name, None)["refused"] in ("PermissionError", "OSError")


def test_no_capability_is_left(prison: Server):
    assert set(attempt(prison, "one", "capabilities", None)["got"]) == {"0" * 16}


def test_forks_and_shared_memory_are_bounded(prison: Server):
    found = attempt(prison, "one", "start_many", 2500)["got"]
    assert "start new thread" in found["refused"]
    assert 100 < found["started"] < 2048
    assert attempt(prison, "one", "fill_shm", 8 << 30)["said"].startswith("[Errno 28]")


def test_what_it_leaves_behind_goes_with_it(prison: Server):
    host(prison, "leaver")
    pid = instance(prison, "leaver")["pid"]
    assert attempt(prison, "leaver", "leave_behind", None)["got"] == "left"
    group = os.readlink(f"/proc/{pid}/ns/pid")

    def inside() -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.readlink(entry / "ns" / "pid") == group:
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    assert len(inside()) == 3
    folder = prison.data / "tasks" / instance(prison, "leaver")["id"]
    prison.client("sagemaker").delete_endpoint(EndpointName="leaver")
    until(lambda: not inside(), what="the end of all that the instance had started")
    until(lambda: not folder.exists(), what="the end of its folder")


def test_a_script_has_the_credentials_of_its_role(prison: Server):
    arn = f"arn:aws:sts::{prison.ready['account']}:assumed-role/{ROLE}/SageMaker"
    assert attempt(prison, "one", "whoami", None)["got"] == arn
    assert attempt(prison, "one", "fetch", prison.bucket, "two.tar.gz").get("said", "").find("decode") >= 0
    found = attempt(prison, "one", "environ", None)["got"]
    assert found["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{prison.ready['api_port']}"
    uri, token = found["AWS_CONTAINER_CREDENTIALS_FULL_URI"], found["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    assert "AccessKeyId" in attempt(prison, "one", "get", uri, token)["got"]
    assert attempt(prison, "one", "get", uri, "guess")["said"].startswith("HTTP Error 403")
    other = attempt(prison, "two", "environ", None)["got"]["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    assert attempt(prison, "one", "get", uri, other)["said"].startswith("HTTP Error 403")


def test_network_isolation_means_neither(prison: Server):
    host(prison, "alone", EnableNetworkIsolation=True)
    assert not [n for n in attempt(prison, "alone", "environ", None)["got"] if n.startswith(("AWS_END", "AWS_CONT"))]
    assert "refused" in attempt(prison, "alone", "connect_tcp", "127.0.0.1", prison.ready["api_port"])
    assert attempt(prison, "alone", "network_devices", None)["got"] == ["lo"]
    prison.client("sagemaker").delete_endpoint(EndpointName="alone")


def test_over_https_the_script_trusts_the_server(tmp_path: Path):
    server = Server(tmp_path / "data", ("--tls",)).up()
    try:
        sagemaker = server.client("sagemaker", verify=server.ready["ca_bundle"])
        server.client("s3", verify=server.ready["ca_bundle"]).put_object(
            Bucket=server.bucket, Key="m.tar.gz", Body=archive({"code/inference.py": SCRIPT})
        )
        arn = f"arn:aws:iam::{server.ready['account']}:role/{ROLE}"
        container = {"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{server.bucket}/m.tar.gz"}
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=arn, PrimaryContainer=container)
        sagemaker.create_endpoint_config(EndpointConfigName="m", ProductionVariants=[variant("m")])
        sagemaker.create_endpoint(EndpointName="m", EndpointConfigName="m")
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="m", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        runtime = server.client("sagemaker-runtime", verify=server.ready["ca_bundle"])
        answer = runtime.invoke_endpoint(EndpointName="m", ContentType="application/json", Body='["whoami", null]')
        assert json.loads(answer["Body"].read())["got"].endswith(f":assumed-role/{ROLE}/SageMaker")
    finally:
        server.down()


NO_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --bounding-set=-all "$@"',
    "sh",
)
"""As in a container of Docker's: no capability, and no user namespace can be made."""


@pytest.mark.skipif(not (shutil.which("unshare") and shutil.which("setpriv")), reason="needs util-linux")
def test_where_no_namespace_can_be_made_the_keys_are_safe_too(tmp_path: Path):
    server = Server(tmp_path / "data", prefix=NO_NAMESPACES).up()
    try:
        missing = server.status()["sandbox"]["missing"]
        assert "user_namespace" in missing
        if "landlock" in missing or "seccomp" in missing:
            pytest.skip("nothing is left here that could keep a model apart")
        host(server, "one")
        assert attempt(server, "one", "whoami", None)["got"].endswith("/SageMaker")
        assert set(attempt(server, "one", "capabilities", None)["got"]) == {"0" * 16}
        for path in ("credentials.json", "routing.json", "kedge.db", "run.json"):
            assert attempt(server, "one", "read", str(server.data / path))["refused"] == "PermissionError"
        for name in ("supervisor.sock", "control.sock", "router-0.sock"):
            path = str(run_folder(server.data) / name)
            assert attempt(server, "one", "connect", path)["refused"] == "PermissionError"
        for pid in (*server.pids("control"), *server.pids("supervisor")):
            for name in ("signal_to", "ptrace", "memory_of", "environment_of"):
                assert "refused" in attempt(server, "one", name, pid), name
        for path in ("/x", str(server.data / "x"), "/etc/x"):
            assert "refused" in attempt(server, "one", "write", path)
        with socket.create_server(("127.0.0.1", 0)) as service:
            assert "refused" in attempt(server, "one", "connect_tcp", "127.0.0.1", service.getsockname()[1])
        # Its own folder is not lost to it, nor what it needs to start programs.
        assert attempt(server, "one", "write", "here")["got"] is None
        assert len(server.pids("control")) == 1
        server.kill("instance")
        until(lambda: attempt(server, "one", "whoami", None), what="another process of the instance")
    finally:
        server.down()
