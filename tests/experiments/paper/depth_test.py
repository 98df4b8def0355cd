"""The depth study."""

import pytest

from experiments.paper import curves, depth


def test_the_depth_study_has_the_last_points():
    points = curves.published()
    points = points[points["figure"].str[0].isin(["8", "9"])].sort_values("patches")
    last = points.groupby("network")["psnr"].last()
    assert last.to_dict() == pytest.approx(depth.PUBLISHED, abs=0.0051)
