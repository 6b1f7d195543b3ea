"""Which bundles make a match audible: those of either acoustic decoder."""

from pathlib import Path

import pytest

from musiclm.audit.acoustic import is_audible
from musiclm.bundle import Bundle
from tests.tiny_model import make_bundle


@pytest.mark.parametrize("diffusion", [False, True])
def test_a_bundle_of_either_decoder_is_audible(diffusion: bool, tmp_path: Path) -> None:
    roles = set(Bundle(make_bundle(tmp_path, diffusion=diffusion)).components)
    assert is_audible(roles)
    for missing in ("codec", "joint_embedding", "denoiser" if diffusion else "fine_stage"):
        assert not is_audible(roles - {missing})
