"""PeCLR's regressor: what it says, what it should, and the pose that K makes of it."""

import pytest
import torch

from handsim.errors import HandsimError
from tests.training.models.drawn_targets import draw_targets, some_hidden
from tests.training.models.heads.some_heads import CHANNELS, stages
from tests.training.models.seen_hands import see_hands
from training.models.regressor_25d import Joints25D, Regressor25DHead

SEEN = see_hands(20)


@pytest.fixture(scope="module")
def head() -> Regressor25DHead:
    torch.manual_seed(0)
    return Regressor25DHead(CHANNELS)


def test_two_layers_on_pooled_features(head: Regressor25DHead) -> None:
    maps = stages()
    said = head(maps)
    weights = head.state_dict()
    for hand in range(len(maps[-1])):
        pooled = maps[-1][hand].flatten(1).mean(1)
        hidden = (weights["layers.0.weight"] @ pooled + weights["layers.0.bias"]).clamp(min=0)
        out = (weights["layers.2.weight"] @ hidden + weights["layers.2.bias"]).view(21, 3)
        torch.testing.assert_close(said.keypoints[hand], out[:, :2] + 0.5)
        torch.testing.assert_close(said.depths[hand], out[:, 2] - out[0, 2])
    assert (said.depths[:, 0] == 0).all()
    assert (said.keypoints - 0.5).abs().max() < 1, "it begins at the view's centre"


def test_absolute_errors_joint_by_joint(head: Regressor25DHead) -> None:
    targets = some_hidden(draw_targets(4), torch.nan)
    random = torch.Generator().manual_seed(2)
    said = torch.randn(4, 21, 3, generator=random, dtype=torch.float64)
    off, deep = [], []
    for hand in range(4):
        for joint in range(21):
            if targets.valid[hand, joint]:
                x, y = (said[hand, joint, :2] - targets.keypoints[hand, joint]).tolist()
                off.append((abs(x) + abs(y)) / 2)
            if targets.valid[hand, joint] and targets.has_scale[hand]:
                deep.append(abs(float(said[hand, joint, 2] - targets.joints[hand, joint, 2])))
    keypoint, depth = sum(off) / len(off), sum(deep) / len(deep)
    found = head.loss(Joints25D(said[..., :2], said[..., 2]), targets)
    assert found.keys() == {"loss", "keypoint", "depth"}
    assert float(found["keypoint"]) == pytest.approx(keypoint, rel=1e-12)
    assert float(found["depth"]) == pytest.approx(depth, rel=1e-12)
    assert float(found["loss"]) == pytest.approx(2.5 * keypoint + depth, rel=1e-12)


def test_the_truth_is_read_as_the_truth(head: Regressor25DHead) -> None:
    told = head.decode(Joints25D(SEEN.keypoints, SEEN.joints[..., 2]), SEEN.intrinsics)
    torch.testing.assert_close(told.keypoints, SEEN.keypoints.float())
    torch.testing.assert_close(told.joints, SEEN.joints.float(), rtol=0, atol=2e-5)
    assert (told.confidence == 1).all()


def test_without_k_there_is_no_pose(head: Regressor25DHead) -> None:
    with pytest.raises(HandsimError, match=r"regressor_25d tells no pose without the camera's K, .* give it"):
        head.decode(head(stages()), None)
