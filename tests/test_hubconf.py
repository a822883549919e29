"""What torch.hub gives, from this repository as it is checked out."""

import ast
import functools
import hashlib
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.hub
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

import hubconf
from handsim.embedding.trunk import read_trunk
from training.models.encoder import Encoder, write_torchvision

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder("resnet18").eval()


@pytest.fixture(scope="module")
def exported(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``handsim export`` writes of a checkpoint."""
    folder = tmp_path_factory.mktemp("exported")
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({"state_dict": state}, folder / "a.ckpt")
    write_torchvision(folder / "hands.pth", read_trunk(str(folder / "a.ckpt")), "a.ckpt")
    return folder / "hands.pth"


def load(checkpoint: Path | str, **options: Any) -> Any:
    return torch.hub.load(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        str(REPOSITORY), "simhand_encoder", source="local", checkpoint=str(checkpoint), **options
    )


def test_it_gives_the_network_ready(encoder: Encoder, exported: Path) -> None:
    model = load(exported)
    assert isinstance(model, models.ResNet)
    assert not model.training
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    with torch.inference_mode():
        found = model((pictures - mean) / std)
        torch.testing.assert_close(found, encoder(pictures), rtol=1e-4, atol=1e-5)
    model.train()(pictures)  # the counters of its batch norms are numbers as well
    assert model.bn1.num_batches_tracked == 1


def test_safetensors_and_a_whole_state_dict_are_taken_too(exported: Path, tmp_path: Path) -> None:
    write_torchvision(tmp_path / "hands.safetensors", read_trunk(str(exported)), "a.ckpt")
    model = load(exported)
    torch.save(model.state_dict(), tmp_path / "whole.pth")
    for name in ("hands.safetensors", "whole.pth"):
        torch.testing.assert_close(load(tmp_path / name).state_dict(), model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["resnet34", "resnet101"])
def test_the_file_says_which_resnet_it_is(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        network = models.get_model(name)
    # One zero each, seen many times, takes no room on disk.
    state = {key: torch.zeros(()).expand(value.shape) for key, value in network.state_dict().items()}
    trunk = {key: value for key, value in state.items() if not key.startswith("fc.")}
    torch.save(trunk, tmp_path / "some.pth")
    model = load(tmp_path / "some.pth")
    assert len(model.state_dict()) == len(state) - 2
    assert isinstance(model.fc, torch.nn.Identity)


def test_a_url_is_fetched_once_and_its_checksum_compared(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    digest = hashlib.sha256(exported.read_bytes()).hexdigest()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=exported.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{exported.name}?download=1"
        with pytest.raises(RuntimeError, match="invalid hash value"):
            load(url, sha256="0123abcd", progress=False)
        assert not list((tmp_path / "hub" / "checkpoints").iterdir())
        first = load(url, sha256=digest[:8].upper(), progress=False)
        server.shutdown()
    again = load(url, progress=False)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    [cached] = (tmp_path / "hub" / "checkpoints").iterdir()
    assert cached.name.endswith("-hands.pth")
    with pytest.raises(ValueError, match=rf"{digest}, not 0123abcd; delete it"):
        load(url, sha256="0123abcd")
    with pytest.raises(ValueError, match="sha256 is '0123'; give at least 8"):
        load(url, sha256="0123")


def test_other_files_are_refused(exported: Path, tmp_path: Path) -> None:
    whole = torch.load(exported, weights_only=True)
    for content, message in (
        ({"state_dict": whole, "epoch": 3}, "other things than weights; `handsim export` takes"),
        ({f"encoder.{name}": value for name, value in whole.items()}, "no ResNet as `handsim export`"),
        (whole | {"conv1.weight": torch.zeros(64, 3, 3, 3)}, "no ResNet as"),
    ):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=message):
            load(tmp_path / "other.pth")
    for name in ("cut.pth", "cut.safetensors"):
        (tmp_path / name).write_bytes(exported.read_bytes()[:100_000])
        with pytest.raises(ValueError, match=r"\(100,000 bytes\) cannot be read as weights; it is cut short"):
            load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.pth")


def test_it_lists_one_function_and_needs_nothing_of_handsim() -> None:
    listed = [name for name, value in vars(hubconf).items() if callable(value) and not name.startswith("_")]
    assert listed == ["simhand_encoder"]  # torch.hub.list finds them so
    assert hubconf.dependencies == ["torch", "torchvision"]
    imported: set[str] = set()
    for node in ast.walk(ast.parse((REPOSITORY / "hubconf.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    # safetensors is imported where such a file is loaded.
    assert imported - set(sys.stdlib_module_names) == {*hubconf.dependencies, "safetensors"}
