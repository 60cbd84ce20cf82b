"""Whether a fine-tuning still rises: least squares by hand, and curves whose answer is known."""

import numpy as np
import pytest

from search.report.convergence import trend


def up(value: float) -> float:
    return value


def _noise(seed: int, epochs: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, epochs)


def test_slope_and_error_are_those_of_the_normal_equations() -> None:
    curve = (40 + 0.2 * np.arange(30) + _noise(1, 30)).tolist()
    found = trend("scratch", [curve], up)
    x, y = np.arange(10.0), np.array(curve[20:])
    design = np.stack([np.ones(10), x], 1)
    solved, *_ = np.linalg.lstsq(design, y, rcond=None)
    left = y - design @ solved
    error = np.sqrt(left @ left / 8 / ((x - x.mean()) ** 2).sum())
    assert (found.slope, found.error) == pytest.approx((solved[1], error))
    assert found.gain == pytest.approx(9 * solved[1])


def test_a_rise_beyond_the_noise_is_found_and_a_flat_end_is_not() -> None:
    rising = [(40 + 0.5 * np.arange(30) + _noise(s, 30)).tolist() for s in range(20)]
    flat = [(60 - 30 * np.exp(-np.arange(30) / 2) + _noise(s, 30)).tolist() for s in range(200)]
    assert all(trend("scratch", [one], up).rises for one in rising)
    assert sum(bool(trend("scratch", [one], up).rises) for one in flat) <= 20
    assert trend("scratch", [[50.0] * 30], up).rises is False
    assert trend("scratch", [np.arange(30.0).tolist()], up).rises is True


def test_an_error_that_falls_still_improves() -> None:
    falling = np.arange(30.0)[::-1].tolist()
    assert trend("scratch", [falling], lambda value: -value).rises is True
    assert trend("scratch", [falling], up).rises is False


def test_seeds_are_averaged_and_few_epochs_tell_nothing() -> None:
    a, b = np.arange(30.0), np.zeros(30)
    assert trend("scratch", [a.tolist(), b.tolist()], up).slope == pytest.approx(0.5)
    short = trend("scratch", [a[:11].tolist()], up)
    assert (short.epochs, short.rises, short.slope) == (11, None, None)
    half = trend("scratch", [a[:12].tolist()], up)  # the profile cpu on 5,873 images has 14
    assert (half.epochs, half.rises, half.gain) == (6, True, pytest.approx(5))
    assert [trend("scratch", [a[:n].tolist()], up).epochs for n in (17, 18, 21)] == [6, 6, 7]
    assert trend("scratch", [[1.0]], up).rises is None
