"""The script of a model that tries what its request names: sent to the endpoint as code/inference.py.

Each attempt says what it got; what it was refused by comes back as {"refused": "PermissionError"}.
"""

import ctypes
import glob
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import urllib.request

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def read(path):
    with open(path, "rb") as file:
        return file.read(200).decode(errors="replace")


def listing(path):
    return sorted(os.listdir(path))


def write(path):
    with open(path, "w") as file:
        file.write("x")


def connect(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(2)
        sock.connect(path)
        return "connected"


def connect_abstract(name):
    return connect("\0" + name)


def connect_tcp(host, port):
    with socket.create_connection((host, port), 2):
        return "connected"


def signal_to(pid):
    os.kill(pid, signal.SIGKILL)
    return "signalled"


def signal_all(_):
    os.kill(-1, 0)
    return "signalled"


def ptrace(pid):
    call("ptrace", 16, pid, None, None)


def memory_of(pid):
    with open(f"/proc/{pid}/mem", "rb") as file:
        return len(file.read(1))


def environment_of(pid):
    return read(f"/proc/{pid}/environ")


def root_of(pid):
    return listing(f"/proc/{pid}/root")


def processes(_):
    return [read(f"/proc/{name}/comm").strip() for name in os.listdir("/proc") if name.isdigit()]


def mount(_):
    call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None)


def new_user_namespace(_):
    call("unshare", 0x10000000)


def new_user_namespace_by_clone(_):
    done = subprocess.run(["unshare", "-Ur", "true"], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(done.stderr)


def become_root(_):
    os.setuid(0 if os.getuid() else 1)


def network_devices(_):
    with open("/proc/net/dev") as file:
        return [line.split(":")[0].strip() for line in file.readlines()[2:]]


def make_device(_):
    os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))


def kernel_setting(_):
    write("/proc/sys/kernel/core_pattern")


def raw_socket(_):
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)


def netlink(_):
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


def start_many(count):
    """Threads count as processes do, and are sooner started."""
    threading.stack_size(64 * 1024)
    end = threading.Event()
    started = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait)
            thread.start()
            started.append(thread)
        return {"started": len(started), "refused": ""}
    except RuntimeError as error:
        return {"started": len(started), "refused": str(error)}
    finally:
        end.set()
        threading.stack_size(0)
        for thread in started:
            thread.join()


def fill_shm(size):
    try:
        with open("/dev/shm/fill", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        return "filled"
    finally:
        os.unlink("/dev/shm/fill")


def capabilities(_):
    return [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")]


def gate_descriptors(_):
    got = []
    for number in range(20):
        try:
            os.close(os.open(f"/proc/1/fd/{number}", os.O_RDONLY))
            got.append(number)
        except OSError:
            continue
    return got


def leave_behind(_):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.pause()
        os._exit(0)
    os.wait()
    return "left"


def whoami(_):
    import boto3

    return boto3.client("sts").get_caller_identity()["Arn"]


def fetch(bucket, key):
    import boto3

    return boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()


def environ(_):
    return {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "CUDA_", "KEDGE_"))}


def get(url, token=""):
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": token}), timeout=5) as answer:
        return answer.read(200).decode()


def useful(_):
    """What models do that has to go on working."""
    import multiprocessing.shared_memory
    import tempfile

    block = multiprocessing.shared_memory.SharedMemory(create=True, size=1024)
    block.close()
    block.unlink()
    done = []
    thread = threading.Thread(target=done.append, args=(1,))
    thread.start()
    thread.join()
    with tempfile.NamedTemporaryFile() as file, open("/tmp/mine", "w") as mine:
        file.write(b"x")
        mine.write("x")
    with open("/dev/stdout", "w") as out:
        out.write("said through /dev/stdout\n")
    echo = subprocess.run(["sh", "-c", "echo hello"], capture_output=True, text=True, check=True).stdout
    return [
        echo.strip(),
        done,
        os.cpu_count() > 0,
        resource.getrlimit(resource.RLIMIT_CORE)[0],
        len(glob.glob("/opt/ml/model/*")),
    ]


def model_fn(model_dir):
    return model_dir


def transform_fn(model, body, content_type, accept):
    name, *arguments = json.loads(body)
    try:
        found = {"got": globals()[name](*arguments)}
    except Exception as error:  # noqa: BLE001 (whatever refused it is the answer)
        found = {"refused": type(error).__name__, "said": str(error)}
    return json.dumps(found), "application/json"
