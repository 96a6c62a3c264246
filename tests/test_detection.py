"""The (u, v) of a value against the two-component mixture that they ought to amount to."""

import math

import numpy as np
import pytest
import torch

from dipsop.restoration.config import DetectionConfig
from dipsop.restoration.detection import LEAST_PROBABILITY, Detection
from dipsop.restoration.local_stats import bands
from dipsop.restoration.prior import trust_of
from dipsop.sop import SparseCorruption


def observation(seed, *shape, share=0.3):
    random = torch.Generator().manual_seed(seed)
    clean = torch.full(shape, 0.5) + 0.01 * torch.randn(shape, generator=random)
    bad = torch.rand(shape, generator=random) < share
    return clean, torch.where(bad, torch.rand(shape, generator=random), clean), bad


def begun(y, trust=0.7, **choices):
    """A detection that trusts every value as much to begin with."""
    detection = Detection(y, DetectionConfig(**choices))
    detection.corruption = SparseCorruption.constant(torch.full_like(y, math.sqrt(1 / trust - 1)))
    detection.found = detection.corruption.odds > 1
    return detection


def moved(y, predicted, scale, protected=None, **choices):
    """u and v after one unit of time under the residuals against a prediction, b being as it is said."""
    detection = Detection(y, DetectionConfig(**choices), protected=protected)
    detection.scale = scale.clone()
    detection._move(detection._residual(predicted.clone()), slice(None))
    return detection


def guesses(seed, *shape):
    """Values and predictions of them, some of either at the ends of the range, and how far off these may be."""
    random = torch.Generator().manual_seed(seed)
    y, predicted = (torch.rand(shape, generator=random) for _ in range(2))
    predicted = torch.where(torch.rand(shape, generator=random) < 0.7, y + 0.1 * (predicted - 0.5), predicted)
    y, predicted = (1.4 * y - 0.2).clamp(0, 1), (1.4 * predicted - 0.2).clamp(0, 1)
    return y, predicted, 0.006 + 0.1 * torch.rand(shape, generator=random)


def test_u_and_v_flow_from_gamma_by_the_residual_at_a_quarter_of_one_over_b():
    """Against the closed form in float64: u² = γ²·exp((y − P) / b), v² = γ²·exp((P − y) / b)."""
    y, predicted, scale = guesses(0, 1, 3, 32, 32)
    y, predicted = y.clamp(0.01, 0.99), predicted.clamp(0.01, 0.99)
    detection = moved(y, predicted, scale)
    excess = ((y.double() - predicted.double()) / scale.double()).clamp(-50, 50)
    square = 2 * scale.double() * 0.3 / 0.7
    near = {"rtol": 2e-5, "atol": 0.0}
    torch.testing.assert_close(detection.corruption.u.double().square(), square * torch.exp(excess), **near)
    torch.testing.assert_close(detection.corruption.v.double().square(), square * torch.exp(-excess), **near)


def test_trust_is_the_posterior_of_the_mixture():
    """Laplace residual against the density of the levels, in float64; the tail beyond either end is clean too."""
    y, predicted, scale = guesses(1, 1, 3, 48, 48)
    detection = Detection(y, DetectionConfig(strength=2.0))
    detection.scale, detection.prior.share = scale.clone(), torch.tensor(0.2)
    detection.prior.density = 0.1 + 2 * torch.rand(3, 256, generator=torch.Generator().manual_seed(2))
    detection._move(detection._residual(predicted.clone()), slice(None))
    y, p, b = (x.double().numpy() for x in (y, predicted, scale))
    end = (y <= 0) | (y >= 1)
    off = np.abs(y - p) - np.where(end, 0.5 / 255, 0)
    tail = np.where(off < 0, 2 - np.exp(4 * 256 * np.minimum(off, 0)), 1)
    clean = 0.8 * np.exp(-np.maximum(off, 0) / b) * tail / np.where(end, 2 / 256, 2 * b)
    level = np.take_along_axis(
        detection.prior.density.numpy()[None, :, :], np.rint(y * 255).astype(int).reshape(1, 3, -1), 2
    )
    corrupted = 2 * 0.2 * level.reshape(y.shape)
    assert end.mean() > 0.1
    assert (off < 0).sum() > 100
    np.testing.assert_allclose(trust_of(detection.corruption).numpy(), clean / (clean + corrupted), atol=3e-6)


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"polarity": "salt"},
        {"polarity": "pepper"},
        {"strength": 300.0},
        {"strength": 1e-8},
        {"shared_corruption": True},
        {"shared_corruption": True, "polarity": "salt"},
        {"least_residual": 1e-4},
    ],
    ids=str,
)
@pytest.mark.parametrize("protects", [False, True])
def test_found_is_what_is_off_by_more_than_lambda_and_that_is_what_has_odds_above_one(choices, protects):
    y, predicted, scale = guesses(3, 1, 3, 64, 64)
    scale *= choices.get("least_residual", 0.006) / 0.006
    protected = torch.rand(y.shape, generator=torch.Generator().manual_seed(4)) < 0.2 if protects else None
    detection = moved(y, predicted, scale, protected, **choices)
    u, v, odds = detection.corruption.u, detection.corruption.v, detection.corruption.odds
    assert not torch.isnan(u).any()
    assert not torch.isnan(v).any()
    sure = (odds.log().abs() > 1e-3).all(1, keepdim=True)
    assert sure.float().mean() > 0.95
    assert torch.equal((detection.found & sure), (odds > 1) & sure)
    assert 0 < detection.found.float().mean() < 1


def test_lambda_that_is_reported_is_what_a_residual_has_to_pass():
    """Of equal values: those that are off by a little more than it are found, by a little less are not."""
    y = torch.full((1, 1, 8, 8), 0.5)
    scale = torch.full_like(y, 0.02)
    for choices in ({}, {"strength": 0.01}, {"polarity": "salt"}):
        lam = moved(y, y, scale, **choices).effective_lambda()
        assert lam > 0.01
        assert moved(y, y - 1.01 * lam, scale, **choices).found.all()
        assert not moved(y, y - 0.99 * lam, scale, **choices).found.any()
        assert moved(y, y + 1.01 * lam, scale, **choices).found.all() == (choices != {"polarity": "salt"})


@pytest.mark.parametrize(("polarity", "ruled_out", "left"), [("salt", "v", "u"), ("pepper", "u", "v")])
def test_the_side_that_is_not_looked_for_has_no_start(polarity, ruled_out, left):
    y, predicted, scale = guesses(5, 1, 3, 48, 48)
    detection = moved(y, predicted, scale, polarity=polarity)
    assert (getattr(detection.corruption, ruled_out) == 0).all()
    both = moved(y, predicted, scale)
    assert torch.equal(getattr(detection.corruption, left), getattr(both.corruption, left))
    off = (y - predicted) * (1 if polarity == "salt" else -1)
    assert torch.equal(detection.found & (off > 0), both.found & (off > 0))
    assert not detection.found[off < 0].any()


def test_what_is_protected_has_no_start_on_either_side_and_other_values_do_not_feel_it():
    y, predicted, scale = guesses(6, 1, 3, 48, 48)
    protected = torch.rand(y.shape, generator=torch.Generator().manual_seed(7)) < 0.3
    free, kept = moved(y, predicted, scale), moved(y, predicted, scale, protected)
    assert (kept.corruption.odds[protected] == 0).all()
    assert (trust_of(kept.corruption)[protected] == 1).all()
    assert not kept.found[protected].any()
    assert free.found[protected].any()
    assert torch.equal(kept.corruption.u[~protected], free.corruption.u[~protected])


def test_of_a_pixel_that_is_hit_as_a_whole_one_protected_channel_clears_all():
    y, predicted, scale = guesses(8, 1, 3, 48, 48)
    protected = torch.zeros_like(y, dtype=torch.bool)
    protected[:, 1, :, :24] = True
    found = moved(y, predicted, scale, protected, shared_corruption=True).found
    assert not found[..., :24].any()
    assert found[..., 24:].any()


def test_a_mask_starts_u_and_v_at_infinity_and_protection_comes_before_it():
    y, _, _ = guesses(9, 1, 3, 16, 16)
    random = torch.Generator().manual_seed(10)
    mask, protected = (torch.rand(y.shape, generator=random) < 0.5 for _ in range(2))
    detection = Detection(y, DetectionConfig(), mask, protected)
    for factor in (detection.corruption.u, detection.corruption.v):
        assert torch.equal(factor == math.inf, mask & ~protected)
        assert torch.equal(factor == 0, ~mask | protected)
    assert torch.equal(detection.found, mask & ~protected)
    assert torch.equal(trust_of(detection.corruption), (~detection.found).float())


def test_the_same_evidence_again_counts_once():
    """If rounds added up, log-odds would grow by as much at every one."""
    clean, y, _ = observation(17, 1, 3, 48, 48)
    detection = begun(y)
    log_odds = []
    for _ in range(40):
        detection.update(clean.clone(), torch.full_like(y, 0.02))
        log_odds.append(detection.corruption.odds.log())
    assert (log_odds[-1] - log_odds[-2]).abs().max() < 0.05
    assert log_odds[-1].max() > 5


def test_a_detection_goes_on_from_its_u_and_v_bit_for_bit():
    clean, y, _ = observation(18, 1, 3, 48, 48)
    whole, part = begun(y), begun(y)
    for detection in (whole, part):
        detection.round(clean.clone(), torch.full_like(y, 0.02))
        detection.content.pieces = torch.zeros(2, 1, 48, 48, dtype=torch.bool)
        detection.content.pieces[..., 10:30, :] = True
        detection.content.specks = torch.linspace(0, 0.2, detection.content.specks.numel())
        detection.content.doubt = 0.25
    state = part.state()
    assert torch.equal(state["u"], part.corruption.u)
    assert torch.equal(state["v"], part.corruption.v)
    again = Detection(y, DetectionConfig())
    again.load(state)
    assert torch.equal(again.found, whole.found)
    for detection in (whole, again):
        detection.round(clean.clone() + 0.01, torch.full_like(y, 0.03))
    assert torch.equal(again.corruption.u, whole.corruption.u)
    assert torch.equal(again.corruption.v, whole.corruption.v)


def test_the_posterior_mean_is_nearer_to_the_clean_values_than_the_prediction_alone_where_corruption_was_found():
    """Of values drawn from the mixture; and the observation stays, bit for bit, where corruption is unlikely."""
    random, shape, b = np.random.default_rng(1), (1, 3, 128, 128), 0.03
    predicted = torch.full(shape, 0.5)
    clean = torch.from_numpy(random.laplace(0.5, b, shape)).float().clamp(0.01, 0.99)
    bad = torch.from_numpy(random.random(shape) < 0.3)
    y = torch.where(bad, torch.from_numpy(random.random(shape)).float(), clean)
    detection = Detection(y, DetectionConfig())
    detection.update(predicted.clone(), torch.full(shape, b), iterations=20)
    mean, found = detection.posterior_mean(predicted), detection.found
    unlikely = trust_of(detection.corruption) > 1 - LEAST_PROBABILITY
    assert torch.equal(mean[unlikely], y[unlikely])
    for where in (found, ~found & ~unlikely):
        instead = torch.where(found, predicted, y)
        assert (mean - clean).square()[where].mean() < 0.97 * (instead - clean).square()[where].mean()


@pytest.mark.parametrize("noise", [False, True])
def test_doubtful_values_move_where_corruption_was_found_and_stay_as_they_are_where_there_is_hardly_any(noise):
    """Among odds of ½ on 5 % of the values, a thousandth are certain, or 5 %."""
    y, predicted = torch.full((1, 3, 64, 64), 0.5), torch.full((1, 3, 64, 64), 0.6)
    draws = torch.rand(y.shape, generator=torch.Generator().manual_seed(0))
    detection = Detection(y, DetectionConfig())
    detection.corruption.u.zero_()
    detection.corruption.v.copy_(torch.where(draws < 0.05, 0.5**0.5, 0))
    certain = draws > (0.95 if noise else 0.999)
    detection.corruption.v[certain] = torch.inf
    detection.found = detection.corruption.odds > 1
    mean = detection.posterior_mean(predicted)
    assert (mean[certain] == predicted[certain]).all()
    changed = (mean != y) & ~certain
    assert torch.equal(changed, (draws < 0.05) if noise else torch.zeros_like(certain))


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_trust_is_calibrated_on_values_drawn_from_the_mixture(share):
    """Of the values trusted to 20 to 40 %, 20 to 40 % are clean, and so on: counted, b and π having to be found."""
    random = np.random.default_rng(0)
    shape = (1, 3, 192, 192)
    rows, columns = np.mgrid[:192, :192] / 192
    predicted = np.broadcast_to(0.3 + 0.4 * rows, shape)
    scale = np.broadcast_to(0.02 + 0.04 * columns, shape)
    bad = random.random(shape) < share
    y = np.where(bad, random.random(shape), random.laplace(predicted, scale)).clip(0.001, 0.999)
    y, predicted, scale = (torch.from_numpy(values.astype(np.float32)) for values in (y, predicted, scale))
    detection = Detection(y, DetectionConfig())
    detection.update(predicted, 0.6 * scale, iterations=40)  # too sure of itself, as the residuals have to tell
    trust = trust_of(detection.corruption).numpy()
    for least in (0.2, 0.4, 0.6, 0.8):
        between = (trust >= least) & (trust < least + 0.2)
        assert between.sum() > 1000
        assert least - 0.03 < (~bad[between]).mean() < least + 0.23
    assert float(detection.prior.share) == pytest.approx(share, abs=0.05)


def test_log_odds_of_the_channels_of_a_shared_pixel_add_up_and_pi_and_strength_count_once():
    y = torch.full((1, 3, 8, 8), 0.5)
    y[0, :, 4, 4] += 0.045  # too little in any one channel
    predicted, scale = torch.full_like(y, 0.5), torch.full_like(y, 0.02)
    alone, together = (
        moved(y, predicted, scale, shared_corruption=shared, strength=2.0).corruption.odds for shared in (False, True)
    )
    each = 2 * 0.02 * math.exp(0.045 / 0.02)
    assert alone[0, :, 4, 4] == pytest.approx([2 * 0.3 / 0.7 * each] * 3, rel=1e-4)
    assert together[0, :, 4, 4] == pytest.approx([2 * 0.3 / 0.7 * each**3] * 3, rel=1e-4)


def test_channels_of_a_shared_pixel_are_found_together_even_where_rounding_decides():
    """Pixels off by λ to the last digits, of which every channel has another b."""
    random = torch.Generator().manual_seed(19)
    shape = (1, 3, 128, 128)
    scale, y = 0.01 + 0.03 * torch.rand(shape, generator=random), torch.full(shape, 0.5)
    at_lambda = -(2 * scale * (0.3 / 0.7) ** (1 / 3)).log().sum(1, keepdim=True) / 3 * scale
    found = moved(y, y - at_lambda, scale, shared_corruption=True).found
    assert 0.1 < found.float().mean() < 0.9
    assert torch.equal(found, found[:, :1].expand(shape))


def test_finds_random_values_by_their_residual():
    clean, y, bad = observation(2, 1, 3, 64, 64)
    detection = begun(y)
    detection.update(clean.clone(), torch.full_like(y, 0.02), iterations=6)
    far = bad & ((y - clean).abs() > 0.1)
    assert detection.found[far].float().mean() > 0.99
    assert detection.found[~bad].float().mean() < 0.01
    assert float(detection.prior.share) == pytest.approx(0.3, abs=0.05)
    assert float(detection.effective_lambda()) > 0


def test_a_fixed_value_is_recognized_where_its_residual_is_small():
    clean, y, _ = observation(3, 1, 1, 64, 64, share=0.0)
    spots = torch.rand(y.shape, generator=torch.Generator().manual_seed(4)) < 0.2
    clean = torch.linspace(0.1, 0.9, 64).expand_as(y).clone()
    y = torch.where(spots, 0.5, clean + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(5)))
    detection = begun(y)
    detection.update(clean.clone(), torch.full_like(y, 0.02), iterations=8)
    near = (clean - 0.5).abs() < 0.03  # where a residual alone could not tell
    assert detection.found[spots & near].float().mean() > 0.9
    assert detection.found[~spots].float().mean() < 0.02


def test_rows_and_columns_that_are_wrong_as_a_whole_are_left_alone():
    """The frame of a scan is not sparse; the same residuals scattered over the picture are."""
    clean, y, bad = observation(7, 1, 3, 64, 64, share=0.2)
    y = y.clone()
    y[..., -1, :] = torch.rand(64, generator=torch.Generator().manual_seed(8))
    y[..., 3] = torch.rand(64, generator=torch.Generator().manual_seed(9))
    detection = begun(y)
    detection.update(clean.clone(), torch.full_like(y, 0.02), iterations=6)
    found = detection.found
    assert found[..., -1, :].float().mean() < 0.1
    assert found[..., 3].float().mean() < 0.1
    elsewhere = bad & ((y - clean).abs() > 0.1)
    elsewhere[..., -1, :], elsewhere[..., 3] = False, False
    assert found[elsewhere].float().mean() > 0.98


def test_a_line_that_is_wrong_as_a_whole_does_not_blind_its_neighbours():
    clean, y, bad = observation(7, 1, 3, 64, 64, share=0.2)
    y = y.clone()
    y[..., 30, :] = torch.rand(64, generator=torch.Generator().manual_seed(8))
    detection = begun(y)
    for _ in range(6):
        detection.update(clean.clone(), torch.full_like(y, 0.02))
    assert detection.found[..., 30, :].float().mean() < 0.1
    near = [28, 29, 31, 32]
    assert detection.scale[..., near, :].median() < 1.3 * detection.scale.median()
    far = (bad & ((y - clean).abs() > 0.1))[..., near, :]
    assert detection.found[..., near, :][far].float().mean() > 0.98


def test_true_black_and_white_are_trusted_where_they_are_expected():
    """A third of the values are black or white by corruption, and a white area is white in truth."""
    random = torch.Generator().manual_seed(8)
    clean = torch.full((1, 3, 64, 64), 0.5)
    clean[..., :32] = 1.0
    bad = torch.rand(clean.shape, generator=random) < 0.3
    y = torch.where(bad, (torch.rand(clean.shape, generator=random) < 0.5).float(), clean)
    detection = begun(y)
    detection.update(clean.clone(), torch.full_like(y, 0.02), iterations=6)
    found = detection.found
    assert not found[..., :32][y[..., :32] == 1].any()
    assert found[bad & (y != clean)].all()
    assert found[..., 32:][bad[..., 32:]].all()


def test_a_value_that_the_network_is_unsure_of_needs_a_larger_residual():
    _, y, _ = observation(9, 1, 1, 48, 48, share=0.0)
    y = y.clone()
    y[..., 10, 10] = y[..., 30, 30] = 0.58
    said = torch.full_like(y, 0.01)
    said[..., 30, 30] = 0.1
    detection = begun(y)
    detection.update(torch.full_like(y, 0.5), said, iterations=4)
    assert detection.found[0, 0, 10, 10]
    assert not detection.found[0, 0, 30, 30]


def test_what_was_found_stays_found_only_if_enough_of_it_is_found_again():
    clean, y, _ = observation(14, 1, 3, 48, 48)
    scale = torch.full_like(y, 0.02)

    def found_again(lasting, share_learned):
        """Look twice; for the second time a share of the corruption is predicted, too."""
        detection = begun(y)
        detection.update(clean.clone(), scale.clone())
        before = detection.found.clone()
        learned = torch.rand(y.shape, generator=torch.Generator().manual_seed(15)) < share_learned
        detection.update(torch.where(learned, y, clean), scale.clone(), lasting=lasting)
        if lasting <= 1 - share_learned:
            assert (trust_of(detection.corruption)[before] == 0).all()
        return float((detection.found & before).sum() / before.sum())

    assert found_again(lasting=0.8, share_learned=0.1) == 1
    assert found_again(lasting=0.8, share_learned=0.5) == pytest.approx(0.5, abs=0.1)
    assert found_again(lasting=math.inf, share_learned=0.1) == pytest.approx(0.9, abs=0.05)
    assert found_again(lasting=0.0, share_learned=1.0) == 1


def test_a_level_that_fills_the_picture_is_not_taken_for_that_of_the_corruption():
    y = torch.full((1, 1, 64, 64), 240 / 255)
    y[..., ::9, ::5] = 30 / 255
    detection = begun(y, 0.9)
    for _ in range(12):
        detection.update(torch.full_like(y, 240 / 255), torch.full_like(y, 0.01))
    assert torch.equal(detection.found, y < 0.5)


def test_detecting_in_bands_is_detecting_at_once(monkeypatch):
    clean, y, _ = observation(16, 1, 3, 96, 120)
    trusts = []
    for pixels in (1 << 20, 120 * 20):
        monkeypatch.setattr("dipsop.restoration.local_stats.BAND", pixels)
        assert (len(list(bands(y))) == 1) == (pixels == 1 << 20)
        detection = begun(y)
        detection.update(clean.clone(), torch.full_like(y, 0.02))
        trusts.append(trust_of(detection.corruption))
    assert torch.allclose(*trusts, atol=1e-4)


def on_a_page(speckled, **choices):
    """A detection of a page of print that was taken for content, its prediction being paper; (it, print, specks)."""
    y = torch.full((1, 1, 96, 96), 0.9)
    lines = torch.zeros_like(y, dtype=torch.bool)
    lines[..., 30:60, :] = True
    y[..., 30:60:3, :] = 0.2
    specks = torch.rand(y.shape, generator=torch.Generator().manual_seed(2)) < 0.02
    y[specks & speckled] = 0.0
    detection = Detection(y, DetectionConfig(**choices))
    detection.content.pieces = lines.expand(2, -1, -1, -1).clone()
    detection.prior.forget(0.002)
    for _ in range(2):
        detection.update(torch.full_like(y, 0.9), torch.full_like(y, 0.1))
        detection.content.learn_specks(detection.found, float(detection.prior.share))
    return detection, lines, specks


def test_specks_within_print_are_found_by_their_level_and_the_print_is_not():
    detection, lines, specks = on_a_page(speckled=True)
    assert torch.equal(detection.found & lines, specks & lines)


def test_print_is_clean_where_no_specks_lie_beside_it():
    detection, lines, _ = on_a_page(speckled=torch.zeros(1, 1, 96, 96, dtype=torch.bool))
    assert not (detection.found & lines).any()
    assert (detection.corruption.odds[lines] == 0).all()


def test_the_level_of_specks_does_not_overrule_the_side_that_is_looked_for():
    detection, lines, _ = on_a_page(speckled=True, polarity="salt")
    assert not (detection.found & lines).any()


def test_of_a_drawing_dots_in_a_line_are_content_and_scattered_ones_are_specks():
    paper = torch.full((1, 1, 96, 96), 0.9)
    line, specks = paper.clone(), paper.clone()
    line[..., 40, ::4] = 0.1
    specks[torch.rand(paper.shape, generator=torch.Generator().manual_seed(7)) < 0.003] = 0.1
    for y, found in ((line, line < 0), (specks, specks < 0.5)):
        detection = Detection(y, DetectionConfig())
        detection.round(paper.clone(), torch.full_like(y, 0.01))
        assert torch.equal(detection.found, found)


def test_the_corner_of_a_line_that_is_not_predicted_is_content_and_a_speck_on_paper_is_found():
    predicted = torch.full((1, 1, 200, 200), 0.9)
    predicted[..., 100, :150] = 0.1
    y = predicted.clone()
    y[..., 100, 150] = y[..., 30, 40] = 0.1  # the line is longer by one than it is said to be
    detection = Detection(y, DetectionConfig())
    detection.round(predicted, torch.full_like(y, 0.01))
    assert detection.found.nonzero().tolist() == [[0, 0, 30, 40]]
    assert (detection.corruption.odds > 0).nonzero().tolist() == [[0, 0, 30, 40]]


@pytest.mark.parametrize(
    ("kind", "share", "as_detail"), [("two levels", 0.6, True), ("two levels", 0.1, False), ("any", 0.6, False)]
)
def test_in_dense_noise_of_few_levels_others_are_detail_while_there_are_rounds_to_come(kind, share, as_detail):
    random = torch.Generator().manual_seed(5)
    clean = 0.3 + 0.4 * torch.rand(1, 1, 128, 128, generator=random)
    bad = torch.rand(clean.shape, generator=random) < share
    ends = (torch.rand(clean.shape, generator=random) < 0.5).float()
    y = torch.where(bad, ends if kind == "two levels" else torch.rand(clean.shape, generator=random), clean)
    detail = ~bad & (torch.rand(clean.shape, generator=random) < 0.01)
    error = torch.distributions.Laplace(0.0, 0.02).icdf(0.002 + 0.996 * torch.rand(clean.shape, generator=random))
    predicted = torch.where(detail, clean - 0.25, clean + error)

    def found(rounds):
        detection = Detection(y, DetectionConfig(rounds=rounds))
        for _ in range(3):
            detection.update(predicted.clone(), torch.full_like(y, 0.02), iterations=4)
        return detection.found

    early, late = found(rounds=10), found(rounds=2)
    assert early[bad & ((y - clean).abs() > 0.2)].float().mean() > 0.99
    assert late[detail].float().mean() > 0.9
    assert (early[detail].float().mean() < 0.5) == as_detail
