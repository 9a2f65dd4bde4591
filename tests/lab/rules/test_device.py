"""Nothing in a rule makes the host wait for the device, or is left on the host."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch._subclasses import FakeTensorMode

from lab.rules import LOGICS, Rule
from lab.testing import OneDevice
from lab.testing.device import move, to_fake_cuda, to_meta

from .by_hand import LAYOUT, OF, RELATIONS, SETS

SAYS = """for all s in letters, i: two.source[i+1] = u and one.tag[i] = I-{s} -> one.tag[i-1] in {B-{s}, I-{s}}
    and (allowed(one.kind, two.tag[i]) or for some j: i < j and one.tag[i] = two.tag[j] and heard(one.tag[j], two.source[0]))
    and 2 * count(j: one.tag[j+1] = B-{s} and two.source[j] = v) <= 3 - count(j: two.tag[j] in begins)"""


@pytest.mark.parametrize("where", ["meta", "cuda"])
def test_no_value_is_read_and_no_table_is_left_behind(where):
    mode = FakeTensorMode() if where == "cuda" else nullcontext()
    there = to_fake_cuda(mode) if where == "cuda" else to_meta
    rule = Rule("r", SAYS, LAYOUT, over="pairs", of=OF, sets=SETS, relations=RELATIONS)
    move(rule, there)
    inputs, real = there(torch.ones(3, 5, 2, 4, dtype=torch.int64)), there(torch.ones(3, 5, 2, 4, dtype=torch.bool))
    answers, logs = there(torch.ones(6, 3, 5, 2, 4, dtype=torch.int64)), there(torch.randn(3, 5, 2, 4, 7)).requires_grad_()
    with mode, OneDevice():
        assert rule.violated(answers, inputs, real).shape == (6, 3, 5)
        values = [rule.log_truth(logs, inputs, real), *(rule.truth(logs, inputs, real, logic) for logic in LOGICS)]
        for value in values:
            assert value.shape == (3, 5)
            assert value.device.type == where
            if where == "meta":  # autograd wants a device that is there
                value.sum().backward()


def test_a_rule_that_stayed_behind_serves_elsewhere_and_copies_its_tables_once():
    rule = Rule("r", "for all i: tag[i] = B-a", LAYOUT)
    elsewhere = torch.ones(2, 1, 4, dtype=torch.int64, device="meta")
    assert rule.violated(elsewhere, elsewhere, elsewhere > 0).device.type == "meta"
    with OneDevice():
        rule.violated(elsewhere, elsewhere, elsewhere > 0)
    here = torch.full((2, 1, 4), 3)
    assert rule.violated(here, here, here > 0).tolist() == [False, False]
