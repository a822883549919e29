"""What the container files promise: pinned, locked, bound to this machine, healthy, nothing to spare."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "docker-compose.yml").read_text()
EXAMPLE = (REPOSITORY / ".env.example").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NODES = ("qdrant-1", "qdrant-2", "qdrant-3")
QDRANTS = ("qdrant", *NODES)
OURS = ("browser", "trainer")
REQUIRED_KEY = re.compile(r"\$\{HANDSIM_QDRANT_API_KEY:\?(\S+ ){5,}\S+\}")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
FINAL = INSTRUCTIONS[INSTRUCTIONS.rindex("FROM ") :]
IGNORED = (REPOSITORY / ".dockerignore").read_text().splitlines()

every_service = pytest.mark.parametrize("name", SERVICES)
every_qdrant = pytest.mark.parametrize("name", QDRANTS)


def mounts(name: str) -> dict[str, dict[str, Any]]:
    """The mounts of a service by their target, all in compose's long form."""
    found = {}
    for mount in SERVICES[name].get("volumes", []):
        if isinstance(mount, str):
            mount = dict(zip(("source", "target"), mount.split(":"), strict=True), type="volume")
        found[mount["target"]] = mount
    return found


@every_service
def test_a_service_is_pinned_and_may_do_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    if name in QDRANTS:
        pinned = re.fullmatch(r"qdrant/qdrant:v(\d+)\.(\d+)\.(\d+)-unprivileged", service["image"])
        assert pinned
        assert (int(pinned[1]), int(pinned[2])) >= (1, 18)
    assert ("build" in service) == (name in OURS)
    assert "latest" not in service["image"]
    assert not service.keys() & {"network_mode", "privileged", "pid", "ipc", "cap_add", "devices"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert re.fullmatch(r"\$\{\w+:-\d+g\}", service["mem_limit"])


@every_service
def test_the_key_is_required_and_the_same_everywhere(name: str) -> None:
    variable = "QDRANT__SERVICE__API_KEY" if name in QDRANTS else "HANDSIM_QDRANT_API_KEY"
    assert REQUIRED_KEY.fullmatch(SERVICES[name]["environment"][variable])


def test_the_key_comes_from_nowhere_but_the_environment() -> None:
    uses = [match for match in VARIABLE.finditer(TEXT) if "KEY" in match[1]]
    assert uses
    assert all(REQUIRED_KEY.fullmatch(match[0]) for match in uses)
    assert ".env" in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_ports_are_bound_to_this_machine_and_differ() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:(6333|6334|8501)", port) for port in ports)
    published = [port.split(":")[1] for port in ports]
    assert len(set(published)) == len(published)


def test_building_on_a_gpu_changes_the_image_alone_and_not_its_version() -> None:
    override = yaml.safe_load((REPOSITORY / "docker-compose.gpu.yml").read_text())
    assert [*override] == ["services"]
    assert [*override["services"]] == ["qdrant"]
    server = override["services"]["qdrant"]
    assert server.keys() == {"image", "user", "environment", "deploy"}
    usual = SERVICES["qdrant"]["image"].removesuffix("-unprivileged")
    assert (server["image"], server["user"]) == (f"{usual}-gpu-nvidia", "1000:1000")
    assert server["environment"]["QDRANT__GPU__INDEXING"] == "1"
    assert server["deploy"] == SERVICES["trainer"]["deploy"]


@every_qdrant
def test_grpc_is_published_one_above_http(name: str) -> None:
    http, grpc = (port.split(":")[1:] for port in SERVICES[name]["ports"])
    assert (http[1], grpc[1]) == ("6333", "6334")
    assert int(grpc[0]) == int(http[0]) + 1


@every_qdrant
def test_what_qdrant_writes_is_in_volumes_of_its_own(name: str) -> None:
    mine = mounts(name)
    assert mine.keys() == {"/qdrant/storage", "/qdrant/snapshots"}
    sources = {mount["source"] for mount in mine.values()}
    assert len(sources) == 2
    assert sources <= COMPOSE["volumes"].keys()
    others = {mount["source"] for other in SERVICES if other != name for mount in mounts(other).values()}
    assert not sources & others
    marker = PurePosixPath(SERVICES[name]["environment"]["QDRANT_INIT_FILE_PATH"])
    assert str(marker.parent) in mine
    assert SERVICES[name]["ulimits"]["nofile"] >= 10_000


@contextmanager
def serving(path: str, status: int) -> Iterator[int]:
    """A server on a free port that answers ``status`` at ``path`` and 404 elsewhere; gives the port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 404)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def health(name: str, port: int) -> int:
    """The exit code of the service's own health check, asked of ``port`` on this machine."""
    kind, program, *arguments = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    inside = "8501" if name == "browser" else "6333"
    assert sum(argument.count(inside) for argument in arguments) == 1
    arguments = [argument.replace("$$", "$").replace(inside, str(port)) for argument in arguments]
    program = sys.executable if program == "python" else program
    return subprocess.run([program, *arguments], capture_output=True, timeout=20).returncode


@pytest.mark.parametrize("name", ["qdrant", "browser"])
def test_the_health_check_tells_ready_from_not_ready_from_nobody(name: str) -> None:
    if not shutil.which("bash"):
        pytest.skip("bash, which runs the health check in Qdrant's image, is not on this machine")
    path = "/_stcore/health" if name == "browser" else "/readyz"
    with serving(path, 200) as port:
        assert health(name, port) == 0
    with serving(path, 503) as port:
        assert health(name, port) != 0
    assert health(name, port) != 0  # by now nobody listens there


def test_every_qdrant_is_the_same_and_checked_alike_and_ours_wait_for_a_healthy_one() -> None:
    for key in ("image", "healthcheck"):
        assert all(SERVICES[name][key] == SERVICES["qdrant"][key] for name in NODES)
    settings = {"test", "interval", "timeout", "retries", "start_period"}
    assert all(SERVICES[name]["healthcheck"].keys() == settings for name in ("qdrant", "browser"))
    for name in OURS:
        assert SERVICES[name]["depends_on"] == {"qdrant": {"condition": "service_healthy"}}


def test_the_browser_cannot_write_the_pool() -> None:
    binds = [mount for mount in mounts("browser").values() if mount["type"] == "bind"]
    assert [mount["target"] for mount in binds] == ["/home/handsim/handsim-home/pool"]
    assert binds[0]["read_only"] is True
    assert binds[0]["bind"] == {"create_host_path": False}


def test_no_node_waits_until_another_is_ready() -> None:
    """After a restart a node is ready only once another has answered it: waiting would never end."""
    assert "depends_on" not in SERVICES[NODES[0]]
    for name in NODES[1:]:
        assert SERVICES[name]["depends_on"] == {NODES[0]: {"condition": "service_started"}}


def test_the_example_names_every_variable_and_holds_no_secret() -> None:
    asked = {match[1]: (match[2], match[3]) for match in VARIABLE.finditer(TEXT)}
    shown = re.findall(r"^(#?)([A-Z]\w*)=(.*)$", EXAMPLE, re.MULTILINE)
    assert {name for _, name, _ in shown} == asked.keys()
    for comment, name, value in shown:
        kind, default = asked[name]
        # What has no default is left to be filled in; what has one is shown with it, commented out.
        assert (comment, value) == (("", "") if kind == "?" else ("#", default))


def test_no_address_but_of_these_services_and_this_machine() -> None:
    hosts = set(re.findall(r"https?://([\w.-]+)", TEXT + EXAMPLE))
    assert hosts <= {*SERVICES, "127.0.0.1", "qdrant-cluster"}


@pytest.mark.parametrize("key", ["", "a-key"])
def test_compose_itself_reads_the_file_and_asks_for_the_key(key: str) -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("Docker Compose is not on this machine")
    command = [docker, "compose", "--env-file", "/dev/null", "--profile", "*", "config", "--quiet"]
    environment = {**os.environ, "HANDSIM_QDRANT_API_KEY": key}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == bool(key), done.stderr
    assert key or "copy .env.example to .env" in done.stderr


def goes_in(path: str) -> bool:
    """Whether .dockerignore lets ``path`` in: the last pattern that matches it or a folder above decides."""
    way = [PurePosixPath(path), *PurePosixPath(path).parents][:-1]
    let_in = True
    for line in IGNORED:
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        if pattern.startswith("**/"):
            matches = any(fnmatch(step.name, pattern.removeprefix("**/")) for step in way)
        else:
            assert "/" not in pattern, "this test reads patterns of one component only"
            matches = fnmatch(way[-1].name, pattern)
        if matches:
            let_in = line.startswith("!")
    return let_in


def test_the_package_goes_in_but_no_key_no_hands_and_no_history() -> None:
    for path in (
        *(".env", ".git/config", ".venv/bin/python", "runs/simhand/last.ckpt", "tests/test_containers.py"),
        *("handsim-home/pool/hands.tar", "handsim-demo/report.html"),
        "handsim/__pycache__/hand.cpython-312.pyc",
    ):
        assert not goes_in(path), path
    for path in (
        *("pyproject.toml", "README.md", "LICENSE", "handsim/pool/reader.py", "index/py.typed"),
        *("apps/report.html", "training/recipes/simhand.yaml", "training/experiments/shipped/main.yaml"),
    ):
        assert (REPOSITORY / path).exists()
        assert goes_in(path), path


def test_the_python_is_pinned() -> None:
    one, other = re.findall(r"^FROM (\S+)", INSTRUCTIONS, re.MULTILINE)
    assert re.fullmatch(r"python:3\.12\.\d+-slim-[a-z]+", one)
    assert one == other  # the environment is copied between them


def test_it_runs_as_a_fixed_user_that_is_not_root() -> None:
    assert "useradd --uid 1000 " in FINAL
    assert re.findall(r"^USER (.*)$", FINAL, re.MULTILINE) == ["1000:1000"]
    assert 'ENTRYPOINT ["handsim"]' in FINAL


def test_nothing_to_build_with_and_no_cache_stays() -> None:
    (packages,) = re.findall(
        r"apt-get install --yes --no-install-recommends ([^&]+?)\s*&& rm -rf /var/lib/apt/lists/\*", FINAL
    )
    assert all(re.fullmatch(r"lib[a-z0-9.-]+", package) for package in packages.split())
    assert "-dev" not in packages
    assert INSTRUCTIONS.count("apt-get install") == 1
    assert "pip install" not in FINAL
    assert INSTRUCTIONS.index("PIP_NO_CACHE_DIR=1") < INSTRUCTIONS.index("pip install")


def test_no_index_is_built_in() -> None:
    assert not re.search(r"https?://", DOCKERFILE)
    for argument in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        assert re.search(rf"^ARG {argument}$", INSTRUCTIONS, re.MULTILINE)
        assert argument not in FINAL
