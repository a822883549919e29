"""What docker-compose.yml promises: pinned, locked, bound to this machine, healthy, limited, replicated."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
SERVERS = (*QDRANTS, "browser")
REQUIRED_KEY = re.compile(r"\$\{HANDSIM_QDRANT_API_KEY:\?(\S+ ){5,}\S+\}")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")

every_service = pytest.mark.parametrize("name", SERVICES)
every_server = pytest.mark.parametrize("name", SERVERS)
every_qdrant = pytest.mark.parametrize("name", QDRANTS)
every_node = pytest.mark.parametrize("name", NODES)


def mounts(name: str) -> dict[str, dict[str, Any]]:
    """The mounts of a service by their target, all in compose's long form."""
    found = {}
    for mount in SERVICES[name].get("volumes", []):
        if isinstance(mount, str):
            source, target = mount.split(":")
            mount = {"type": "volume", "source": source, "target": target}
        found[mount["target"]] = mount
    return found


def test_these_are_the_services() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert profiles == {
        "qdrant": [],
        "browser": [],
        "trainer": ["train"],
        **{name: ["cluster"] for name in NODES},
    }


@every_qdrant
def test_qdrant_is_pinned_to_a_version_that_serves_us_and_is_not_root(name: str) -> None:
    pinned = re.fullmatch(r"qdrant/qdrant:v(\d+)\.(\d+)\.(\d+)-unprivileged", SERVICES[name]["image"])
    assert pinned
    assert (int(pinned[1]), int(pinned[2])) >= (1, 18)
    assert "user" not in SERVICES[name]


def test_all_nodes_run_the_same_qdrant() -> None:
    assert len({SERVICES[name]["image"] for name in QDRANTS}) == 1


@every_service
def test_a_service_is_a_pinned_image_or_built_here(name: str) -> None:
    assert ("build" in SERVICES[name]) == (name in OURS)
    assert "latest" not in SERVICES[name]["image"]


@every_service
def test_the_key_is_required_and_the_same_everywhere(name: str) -> None:
    variable = "QDRANT__SERVICE__API_KEY" if name in QDRANTS else "HANDSIM_QDRANT_API_KEY"
    assert REQUIRED_KEY.fullmatch(SERVICES[name]["environment"][variable])


def test_the_key_comes_from_nowhere_but_the_environment() -> None:
    uses = [match for match in VARIABLE.finditer(TEXT) if "KEY" in match[1]]
    assert uses
    assert all(REQUIRED_KEY.fullmatch(match[0]) for match in uses)


@every_service
def test_ports_are_bound_to_this_machine(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    assert not SERVICES[name].keys() & {"network_mode", "privileged", "pid", "ipc", "cap_add", "devices"}


def test_no_two_services_want_the_same_port_and_none_shows_the_nodes_own() -> None:
    ports = [port.split(":")[1:] for service in SERVICES.values() for port in service.get("ports", [])]
    published = [outside for outside, _ in ports]
    assert len(set(published)) == len(published)
    assert {inside for _, inside in ports} == {"6333", "6334", "8501"}


@every_qdrant
def test_grpc_is_published_one_above_http(name: str) -> None:
    http, grpc = (port.split(":")[1:] for port in SERVICES[name]["ports"])
    assert (http[1], grpc[1]) == ("6333", "6334")
    assert int(grpc[0]) == int(http[0]) + 1


@every_service
def test_nothing_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert re.fullmatch(r"\$\{\w+:-\d+g\}", service["mem_limit"])
    assert service["restart"] == ("no" if name == "trainer" else "unless-stopped")


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


def test_every_volume_is_used() -> None:
    used = {mount["source"] for name in SERVICES for mount in mounts(name).values()}
    assert COMPOSE["volumes"].keys() == {source for source in used if not source.startswith("$")}


@contextmanager
def serving(path: str, status: int) -> Iterator[int]:
    """A server on a free port that answers ``status`` at ``path`` and 404 elsewhere; gives the port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def health(name: str, port: int) -> int:
    """The exit code of the service's own health check, asked of ``port`` on this machine."""
    kind, program, *arguments = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    inside = "8501" if name == "browser" else "6333"
    assert sum(argument.count(inside) for argument in arguments) == 1
    arguments = [argument.replace("$$", "$").replace(inside, str(port)) for argument in arguments]
    program = sys.executable if program == "python" else program
    return subprocess.run([program, *arguments], capture_output=True, timeout=20).returncode


@every_server
def test_the_health_check_tells_ready_from_not_ready_from_nobody(name: str) -> None:
    if not shutil.which("bash"):
        pytest.skip("bash, which runs the health check in Qdrant's image, is not on this machine")
    path = "/_stcore/health" if name == "browser" else "/readyz"
    with serving(path, 200) as port:
        assert health(name, port) == 0
    with serving(path, 503) as port:
        assert health(name, port) != 0
    assert health(name, port) != 0  # by now nobody listens there


@every_server
def test_the_health_check_is_asked_again_and_in_time(name: str) -> None:
    assert SERVICES[name]["healthcheck"].keys() == {"test", "interval", "timeout", "retries", "start_period"}


@pytest.mark.parametrize("name", OURS)
def test_our_services_wait_for_a_healthy_qdrant(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {"qdrant": {"condition": "service_healthy"}}


def test_the_browser_reads_the_servers_index_and_cannot_write_the_pool() -> None:
    browser = SERVICES["browser"]
    assert browser["command"] == ["browse", "--index", "${HANDSIM_INDEX:-http://qdrant:6333}"]
    pool = mounts("browser")["/home/handsim/handsim-home/pool"]
    assert pool["source"] == "${HANDSIM_HOME:-./handsim-home}/pool"
    binds = [mount for mount in mounts("browser").values() if mount["type"] == "bind"]
    assert binds == [pool]
    assert pool["read_only"] is True
    assert pool["bind"] == {"create_host_path": False}


def test_the_trainer_has_the_gpus_and_the_whole_home() -> None:
    trainer = SERVICES["trainer"]
    (device,) = trainer["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "${HANDSIM_GPUS:-all}", "capabilities": ["gpu"]}
    home = mounts("trainer")["/home/handsim/handsim-home"]
    assert home["source"] == "${HANDSIM_HOME:-./handsim-home}"
    assert "read_only" not in home
    assert home["bind"] == {"create_host_path": False}
    assert trainer["shm_size"] == "8g"
    assert trainer["user"] == "${HANDSIM_USER:-1000:1000}"


@every_node
def test_nodes_find_each_other_through_the_first(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert environment["QDRANT__CLUSTER__ENABLED"] == "true"
    assert environment["QDRANT_URI"] == f"http://{name}:6335"
    assert environment.get("QDRANT_BOOTSTRAP") == (None if name == NODES[0] else f"http://{NODES[0]}:6335")
    assert SERVICES[name]["networks"]["default"]["aliases"] == ["qdrant-cluster"]


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
    done = subprocess.run(
        [docker, "compose", "--env-file", "/dev/null", "--profile", "*", "config", "--quiet"],
        cwd=REPOSITORY,
        env={**os.environ, "HANDSIM_QDRANT_API_KEY": key},
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == bool(key), done.stderr
    assert key or "copy .env.example to .env" in done.stderr
