"""Parts of a batch on threads of their own give what they give one after the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from training.abreast import abreast  # noqa: E402


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 1))


def part(module: nn.Module, factor: float, given: Tensor) -> tuple[Tensor, Tensor]:
    said = module(given).float()
    return factor * said.square().sum(), said.detach().sum()


def gradients(threads: int | None, dtype: torch.dtype | None = None) -> tuple[Tensor, list[Tensor]]:
    """Losses and the gradients of weights and input; None: without threads."""
    module, given = net(), torch.linspace(-1, 1, 30).reshape(5, 6).requires_grad_()
    inputs = [2 * given[:2], 2 * given[2:]]
    parts = [partial(part, module, 1.0), partial(part, module, 0.5)]
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        if threads is None:
            losses = torch.stack([one(rows)[0] for one, rows in zip(parts, inputs, strict=True)])
            losses.sum().backward()
        else:
            with ThreadPoolExecutor(threads) as pool:
                losses, told = abreast(parts, inputs, pool)
                losses.sum().backward()
            assert [float(more) for more in told] == pytest.approx([float(one(rows)[1]) for one, rows in zip(parts, inputs, strict=True)])
    return losses.detach(), [given.grad, *(weight.grad for weight in module.parameters())]


@pytest.mark.parametrize("threads", [1, 2])
def test_losses_and_gradients_are_those_of_one_after_the_other(threads: int) -> None:
    losses, slopes = gradients(threads)
    wanted, plain = gradients(None)
    torch.testing.assert_close(losses, wanted)
    for slope, other in zip(slopes, plain, strict=True):
        torch.testing.assert_close(slope, other)


def test_more_threads_change_not_one_bit_and_the_callers_autocast_holds() -> None:
    losses, slopes = gradients(1, torch.bfloat16)
    again, others = gradients(2, torch.bfloat16)
    assert torch.equal(losses, again) and all(map(torch.equal, slopes, others))
    assert not torch.equal(losses, gradients(2)[0]), "in bfloat16 it is another number"


def test_without_gradients_there_are_none_and_a_parts_error_is_told() -> None:
    module = net()
    with ThreadPoolExecutor(2) as pool:
        with torch.no_grad():
            losses, _ = abreast([partial(part, module, 1.0)] * 2, [torch.ones(1, 6)] * 2, pool)
        assert not losses.requires_grad and all(weight.grad is None for weight in module.parameters())
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            abreast([partial(part, module, 1.0)], [torch.ones(1, 7)], pool)
