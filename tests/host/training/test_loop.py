"""The loop: rates, records, going on from a checkpoint, and stopping where the loss is no number."""

import itertools
import os

import pytest
import torch

from pomt_trt.core.errors import TrainingDiverged, UsageError
from pomt_trt.host.models import loading
from pomt_trt.host.training import checkpoint, data, loop
from pomt_trt.host.training.cropr import Cropr
from tests import compiled
from tests.host import tiny

SETTINGS = loop.Settings(epochs=2, batch_size=3, warmup=0.25, cosine=True, seed=0, checkpoint_every_s=0.0)


def made(folder, settings=SETTINGS, pictures=None, **model):
    """A loop, and its trainee, on ten pictures of five classes, or others."""
    spec = loading.load(tiny.vit(**model)).spec
    pictures = pictures or os.path.join(compiled.source(), "data")
    sets = data.load(pictures, spec, validation=0.3, augment=True, seed=0)
    torch.manual_seed(0)
    trainee = Cropr(tiny.vit(**model), 3)
    optimizer = torch.optim.AdamW(trainee.parameters(), lr=1e-2)
    return loop.Loop(trainee, optimizer, sets, settings, str(folder / checkpoint.FILE)), trainee


class Interrupted(Exception):
    """Somebody pulls the plug."""


def before_call(number, thing, method, act):
    """Lets the number-th call of a method begin with something else."""
    honest, calls = getattr(thing, method), itertools.count(1)

    def counted(*arguments):
        if next(calls) == number:
            act()
        return honest(*arguments)

    setattr(thing, method, counted)


def interrupt():
    raise Interrupted


@pytest.mark.parametrize("steps, pooling", [(1, "token"), (2, "token"), (4, "token"), (3, "")])
def test_an_interrupted_training_ends_as_if_it_had_not_been(tmp_path, steps, pooling):
    pictures = {} if pooling else {"pictures": str(tmp_path / "data")}
    if pictures:
        compiled.write_label_maps(pictures["pictures"], classes=5, count=7)
    whole, expected = made(tmp_path / "whole", global_pool=pooling, **pictures)
    state = whole.fit({"method": "cropr"})
    first, trainee = made(tmp_path / "cut", global_pool=pooling, **pictures)
    before_call(steps + 1, trainee, "after_step", interrupt)
    with pytest.raises(Interrupted):
        first.fit({"method": "cropr"})
    second, trainee = made(tmp_path / "cut", global_pool=pooling, **pictures)
    again = second.fit({"method": "cropr"})
    assert again._replace(seconds=0) == state._replace(seconds=0)
    for parameter, other in zip(trainee.parameters(), expected.parameters(), strict=True):
        assert torch.equal(parameter, other)


def test_a_training_that_was_interrupted_in_its_last_validation_goes_on_with_it(tmp_path):
    state = made(tmp_path / "whole")[0].fit({})
    first, trainee = made(tmp_path / "cut")
    before_call(4, trainee.objective, "accuracy", interrupt)  # two before the training, one for each epoch
    with pytest.raises(Interrupted):
        first.fit({})
    assert made(tmp_path / "cut")[0].fit({})._replace(seconds=0) == state._replace(seconds=0)


def test_a_finished_training_is_not_trained_again(tmp_path):
    first, _ = made(tmp_path)
    state = first.fit({"method": "cropr"})
    second, trainee = made(tmp_path)
    before_call(1, trainee, "after_step", interrupt)
    assert second.fit({"method": "cropr"})._replace(seconds=0) == state._replace(seconds=0)


def test_epochs_are_recorded(tmp_path):
    state = made(tmp_path)[0].fit({})
    assert [set(epoch.losses) for epoch in state.epochs] == [{"loss", "task", "auxiliary"}] * 2
    assert all(0 <= epoch.accuracy <= 1 for epoch in state.epochs) and state.seconds > 0


def test_another_training_is_refused(tmp_path):
    made(tmp_path)[0].fit({"method": "cropr", "removed": 3})
    with pytest.raises(UsageError, match=r"another training: method cropr \(now ltmp\).*another --work folder"):
        made(tmp_path)[0].fit({"method": "ltmp", "removed": 3})


def test_a_loss_that_is_no_number_stops_with_the_step_and_the_last_good_state(tmp_path):
    running, trainee = made(tmp_path)
    bias = trainee.vit.head.bias
    before_call(2, trainee, "after_step", lambda: torch.nn.init.constant_(bias, torch.nan))
    with pytest.raises(
        TrainingDiverged, match=r"(parameter is no longer a number|loss is nan) at step 3 of epoch 1.*lower"
    ):
        running.fit({})
    state, tensors = checkpoint.load(str(tmp_path / checkpoint.FILE))
    assert (state["epoch"], state["step"]) == (0, 1)
    assert all(value.isfinite().all() for value in tensors.values())


def test_a_loss_that_is_no_number_touches_no_parameter(tmp_path):
    running, trainee = made(tmp_path, SETTINGS._replace(checkpoint_every_s=1e9))
    forward = trainee.forward
    trainee.forward = lambda *batch: {name: value * torch.nan for name, value in forward(*batch).items()}
    with pytest.raises(TrainingDiverged, match=r"the loss is nan at step 1 of epoch 1.*The last good state is"):
        running.fit({})
    assert all(parameter.isfinite().all() for parameter in trainee.parameters())


def test_rates_rise_and_then_fall_or_stay():
    def share(step, **changes):
        return loop.rate_share(step, 100, SETTINGS._replace(**changes))

    assert share(0) == pytest.approx(1 / 25) and share(24) == pytest.approx(1) == share(25)
    assert share(25) > share(60) > share(99) > 0
    assert share(0, warmup=0.0, cosine=False) == share(99, warmup=0.0, cosine=False) == 1
