"""The manifest, scripts and tables of docs/scale.md: as their schemas and our command line have them."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from apps.cli.main import _parse
from benchmarks.scale import STAGES, Costs

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "docs" / "scale"
PAGE = (REPOSITORY / "docs" / "scale.md").read_text()
COSTS = REPOSITORY / "benchmarks" / "scale_costs.json"
MANIFEST: dict[str, Any] = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())
CLUSTER: dict[str, Any] = MANIFEST["spec"]["rayClusterSpec"]
SCRIPTS = sorted(FOLDER.glob("*.sbatch"))

every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)


def pods() -> list[dict[str, Any]]:
    return [group["template"]["spec"] for group in (CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"])]


def parse(command: str) -> argparse.Namespace:
    """A command of ours by the real parser; a wrong one ends the test."""
    program, *arguments = shlex.split(command)
    assert program == "handsim"
    options = _parse(arguments)
    assert options is not None
    return options


def test_the_manifest_has_only_fields_that_kuberay_knows() -> None:
    """Those of ray.io/v1 in ray-operator/apis/ray/v1, release 1.4."""
    assert (MANIFEST["apiVersion"], MANIFEST["kind"]) == ("ray.io/v1", "RayJob")
    assert MANIFEST["spec"].keys() <= {
        "entrypoint",
        "backoffLimit",
        "activeDeadlineSeconds",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "runtimeEnvYAML",
        "submissionMode",
        "submitterPodTemplate",
        "rayClusterSpec",
    }
    assert CLUSTER.keys() <= {
        "rayVersion",
        "headGroupSpec",
        "workerGroupSpecs",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
    }
    assert CLUSTER["headGroupSpec"].keys() == {"rayStartParams", "template"}
    for group in CLUSTER["workerGroupSpecs"]:
        assert group.keys() == {
            "groupName",
            "replicas",
            "minReplicas",
            "maxReplicas",
            "rayStartParams",
            "template",
        }
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_all_pods_have_one_image_of_ours_and_every_mount_its_volume() -> None:
    images = {container["image"] for pod in pods() for container in pod["containers"]}
    assert images == {"REGISTRY/handsim-cluster:0.1.0"}
    text = (FOLDER / "kuberay.yaml").read_text()
    assert f"--build-arg ALSO='ray[default]=={CLUSTER['rayVersion']}' --tag {images.pop()} ." in text
    for pod in pods():
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts.keys() == volumes
        assert mounts["pictures"] == "/pictures"  # the same on all nodes
    home = re.search(r"HANDSIM_HOME=(\S+)", (REPOSITORY / "Dockerfile").read_text())
    assert home
    assert home[1] in {mount["mountPath"] for mount in pods()[0]["containers"][0]["volumeMounts"]}


def test_the_jobs_command_is_one_that_handsim_takes() -> None:
    options = parse(MANIFEST["spec"]["entrypoint"])
    assert options.ray == "auto"
    assert [str(path).split("/")[1] for path in options.paths] == ["pictures"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@every_script
def test_a_script_is_one_that_bash_reads(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@every_script
def test_a_script_gives_handsim_what_it_takes_and_hands_its_end_on(script: Path, tmp_path: Path) -> None:
    """With Slurm's and Ray's commands put in by programs that only write down how they are called."""
    steps = 0 if script.name == "shards.sbatch" else 2
    until_all = f'until [ "$(grep -c ^srun "{tmp_path}/calls")" = {steps} ]; do sleep 0.1; done'
    for name, then in (("handsim", until_all), ("ray", ""), ("srun", "")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/calls"\n{then}\n')
        program.chmod(0o755)
    slurm = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_ARRAY_TASK_MAX": "16",
    }
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(script), "/data/my pictures", "/data/homes"]
    subprocess.run(command, check=True, env={**os.environ, **slurm, "PATH": path}, timeout=60)
    calls = (tmp_path / "calls").read_text().splitlines()
    (call,) = [call for call in calls if call.startswith("handsim ")]
    options = parse(call.replace("my pictures", "'my pictures'"))
    assert [str(path) for path in options.paths] == ["/data/my pictures"]
    if script.name == "shards.sbatch":
        assert (str(options.shard), options.home) == ("3/16", "/data/homes/3")
    else:
        (head,) = [call for call in calls if "ray start --head" in call]
        (others,) = [call for call in calls if "ray start --address" in call]
        assert f"--port={options.ray.split(':')[1]} " in head
        assert f"--address={options.ray} " in others
        assert "--nodes=2 --ntasks=2" in others


def test_commands_of_the_page_are_ones_that_handsim_takes() -> None:
    blocks = "".join(re.findall(r"```\w*\n(.*?)```", PAGE, re.DOTALL))
    commands = re.findall(r"^(handsim .*?)\s*(?:#.*)?$", blocks, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        parse(command)


def test_the_tables_of_the_page_are_those_of_the_measured_costs() -> None:
    command = [sys.executable, "-m", "benchmarks.scale"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    tables = done.stdout.strip().split("\n\n")
    assert len(tables) == 3
    for table in tables:
        assert table in PAGE, "python -m benchmarks.scale prints it"


def test_more_machines_shorten_detection_and_not_what_one_process_does() -> None:
    costs = Costs.read(COSTS)
    doubled = replace(costs, machines={size: 2 * count for size, count in costs.machines.items()})
    share = {stage.name: stage.hours(doubled, 10**7) / stage.hours(costs, 10**7) for stage in STAGES}
    assert (share["or: detect in crops"], share["link the index"]) == (0.5, 1)
    assert share["merge the shards' pools"] == 1
