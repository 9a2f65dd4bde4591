"""Joint and cumulative training rewrite the stream: which examples, met as which task, for how long."""

import torch

from lab.stream import Blocks, Budget, Course
from lab.testing.miniature import Miniature
from strategies.cumulative import Cumulative
from strategies.joint import Joint


def rewritten(strategy, stream):
    return strategy.rewrite(stream, Miniature(tasks=3).data, 5)


def addresses(phase):
    return sorted(zip(phase.tasks.tolist(), phase.examples.tolist(), strict=True))


def test_joint_is_one_task_with_the_data_and_the_steps_of_all():
    stream = Miniature("task", tasks=3).stream(5)
    joint = rewritten(Joint(), stream)
    assert addresses(joint.phases[0]) == sorted(pair for phase in stream.phases for pair in addresses(phase))
    assert len(joint.phases) == 1
    assert joint.phases[0].completes == 2
    assert joint.tasks == stream.tasks
    assert Course([joint], [5], Budget(4, steps=7)).total == 21
    samples = [Course([s], [5], Budget(4, epochs=2)).samples(0) for s in (stream, joint)]
    assert samples[0] == samples[1]


def test_cumulative_adds_each_tasks_data_to_those_before():
    stream = Miniature("class", tasks=3).stream(5)
    cumulative = rewritten(Cumulative(), stream)
    for k, phase in enumerate(cumulative.phases):
        assert addresses(phase) == sorted(pair for earlier in stream.phases[: k + 1] for pair in addresses(earlier))
        assert phase.completes == k
    assert Course([cumulative], [5], Budget(4, steps=7)).total == 21


def test_samples_of_all_tasks_are_mixed_in_a_batch():
    joint = rewritten(Joint(), Miniature("task", tasks=3).stream(5))
    tasks = torch.cat([block.tasks for block in Blocks(Course([joint], [5], Budget(16)))])
    assert all(len(torch.unique(of_step)) > 1 for of_step in tasks)
