"""Ratios of pairs."""

from __future__ import annotations

import pytest

from tests.bench.ratios import Ratio, quantile, ratio, spread


def test_a_ratio_is_the_median_of_the_quotients_of_pairs() -> None:
    assert ratio("a / b", "lower", [2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == Ratio("a / b", 3.0, 1 / 3, 3, "lower")


def test_sides_of_unequal_length_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        ratio("a / b", "lower", [2.0], [1.0, 2.0])


def test_one_outlier_is_no_noise() -> None:
    assert spread([1.0, 1.0, 1.0, 50.0, 1.0]) == 0.0


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 51), (0.99, 100), (0.999, 100), (1.0, 100)])
def test_a_quantile_is_a_value_that_was_measured(share: float, value: int) -> None:
    assert quantile(list(range(100, 0, -1)), share) == value
