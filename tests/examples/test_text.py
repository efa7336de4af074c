from __future__ import annotations

import torch
from reference.text import text_loss
from torch import nn


def test_text_loss_equals_cross_entropy_over_all_logits() -> None:
    hidden, head = torch.randn(3, 9, 8, requires_grad=True), nn.Linear(8, 20)
    labels = torch.randint(0, 20, (3, 9))
    labels[torch.rand(3, 9) < 0.6] = -100
    logits = head(hidden)[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten())
    torch.testing.assert_close(text_loss(hidden, labels, head), expected)


def test_text_loss_of_nothing_is_zero_in_the_graph() -> None:
    hidden, head = torch.randn(2, 4, 8, requires_grad=True), nn.Linear(8, 20)
    loss = text_loss(hidden, torch.full((2, 4), -100), head)
    loss.backward()
    assert loss.item() == 0
    assert not hidden.grad.any()
    assert not head.weight.grad.any()
