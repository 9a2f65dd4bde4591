"""Output constraints: Song & Lee 2024, arXiv 2406.01647, along their three axes. They give no formulas: our reconstruction.

What is known of the outputs stands in the environment's rules (:class:`lab.rules.Rule`). c(y) is 1 where answers y to a group
of examples violate a rule, p(y) their probability, t the rule's truth on the probabilities of single labels.

The constraint's loss, and which answers are looked at for it (``explore``), each counting for q(y):

    reinforce   sum_y q(y) (c(y) - b) log p(y); c, b and q have no gradient. Of K draws (``samples``) q = 1/K and b is the mean
                c of the other draws (``baseline: others``; Kool et al. 2019) or 0 (``none``). Of the K most probable answers
                (``topk``; ``beam`` where they are given place after place), or ``all``: q = p / sum of p over them, and
                b = sum q c or 0; over all of them the gradient is that of the probability of a violation, sum_y p(y) c(y)
    hard        c(y) log p(y), y the most probable answer (``argmax``)
    soft        1 - t by product, Lukasiewicz or Goedel logic, or -log t (``log_product``), which has a gradient where many
                groundings leave t near 0. explore=none: as it is; else weighted by the violations met, sum_y q(y) c(y)

What becomes of it, with g the gradient of all other losses together, h that of the constraints':

    sum                 g + s h, s: ``strength``
    lagrangian          g + sum_r s_r h_r, and after the step s_r <- max(0, s_r + a (v_r - e)) for each rule r, begun at
                        ``strength``; a: ``step``, e: ``tolerance``, v_r: the share sum_y q(y) c(y), or 1 - t
    project_constraint  g + s h', h' = h without what of it points against g (as A-GEM projects)
    project_task        g' + s h, g' = g without what of it points against h
    project_both        g' + s h' (as PCGrad projects two)
    orthogonal          g + s h', h' = h without all of it that lies along g (as OGD projects)
    alternating         s h in every second step of a member, g in the others
"""

import math
from copy import deepcopy

import torch

from lab.protocols import WAYS, Groups, Looking, Strategy, UserError, one_of, products, require, squares, whole
from lab.protocols import strength as numbers

LOSSES = ("reinforce", "hard", "soft")
LOGICS = ("product", "log_product", "lukasiewicz", "godel")
INTEGRATE = (
    "sum", "lagrangian", "project_constraint", "project_task", "project_both", "orthogonal", "alternating",
)  # fmt: skip
MOST = 4096
"""Answers to a group of which all are looked at."""
MOST_OF = {"tolerance": (0, 1)}
"""Bounds of numbers that have others than 0 and what is finite."""
KEY = "strategy.constrained"


class Constrained(Strategy):
    """Train the answers to keep the environment's rules.

    Args:
        loss, logic, explore, integrate: as above; ``logic``: of the soft loss.
        count: K.
        baseline: of reinforce: ``others`` or ``none``.
        strength, step, tolerance: s, a and e; one value, or a list of one a member.
        groups: of each kind of group that the environment has for a task (unlabelled examples, pairs, triples), so many are
            drawn a step and go through the network beside the batch. Where it has none, rules over single examples are imposed
            on the batch.
        rules: names of those to impose; null: all that the environment imposes in a task.
        keep: whether rules of earlier tasks go on being imposed, on the data at hand.
    """

    needs_rules = True

    def __init__(
        self, loss="reinforce", logic="product", explore="samples", count=10, baseline="others", integrate="sum",
        strength=1.0, step=0.01, tolerance=0.0, groups=32, rules=None, keep=True,
    ):  # fmt: skip
        super().__init__()
        self.kind, self.logic = one_of(f"{KEY}.loss", loss, LOSSES), one_of(f"{KEY}.logic", logic, LOGICS)
        self.explore, self.integrate = one_of(f"{KEY}.explore", explore, WAYS), one_of(f"{KEY}.integrate", integrate, INTEGRATE)
        self.baseline, self.count = one_of(f"{KEY}.baseline", baseline, ("others", "none")), whole(f"{KEY}.count", count, 1)
        self.groups, self.keep = whole(f"{KEY}.groups", groups, 1), keep
        require(isinstance(keep, bool), f"{KEY}.keep", keep, "true or false")
        require(rules is None or (isinstance(rules, list) and rules), f"{KEY}.rules", rules, "null, or a list of rules' names")
        self.chosen, given = rules, {"strength": strength, "step": step, "tolerance": tolerance}
        self.numbers = {name: numbers(f"{KEY}.{name}", value, *MOST_OF.get(name, ())) for name, value in given.items()}
        self._refuse_nonsense()

    def _refuse_nonsense(self):
        """Combinations that mean nothing, or what another one is for."""
        given = f"{KEY}.explore={self.explore}"
        if self.kind == "hard" and self.explore != "argmax":
            raise UserError(f"{given}: the hard loss looks at the most probable answer alone; expected argmax")
        if self.kind == "reinforce" and self.explore == "none":
            raise UserError(f"{given}: without answers there is nothing to reinforce; expected samples, topk, beam or all")
        if self.kind == "reinforce" and self.explore == "argmax":
            raise UserError(f"{given}: with one answer reinforce is {KEY}.loss=hard; expected samples, topk, beam or all")
        if self.kind == "reinforce" and self.baseline == "others" and self.count < 2 and self.explore != "all":
            raise UserError(f"{KEY}.count={self.count}: the mean of the others takes at least 2; or {KEY}.baseline=none")

    # --- before training ----------------------------------------------------------------------------------------------

    def check(self, stream, data):
        layout, given = data.layout, f"{KEY}.explore={self.explore}"
        for name in self.chosen or ():
            one_of(f"{KEY}.rules", name, tuple(rule.name for rule in stream.rules))
        if not self._imposed(stream, self._of(stream)).any():
            which = "all" if self.chosen is None else ", ".join(self.chosen)
            raise UserError(f"{KEY}.rules={which}: the environment imposes none of them in any task; see environment.imposed")
        if layout.decoded and self.explore in ("topk", "all"):
            told = "answers are given place after place here, and the most probable ones have to be searched for"
            raise UserError(f"{given}: {told}; expected beam, samples or argmax")
        if not layout.decoded and self.explore == "beam":
            raise UserError(f"{given}: places are independent here, and topk finds the most probable answers exactly")
        if self.explore == "all":
            size = math.prod(layout.sayable.sum(1).tolist()) ** max(rule.arity for rule in self._of(stream))
            if size > MOST:
                told = "more than a billion" if size > 1e9 else str(size)
                raise UserError(f"{given}: a group has {told} answers; expected at most {MOST}, or explore=topk, samples")

    def _of(self, stream):
        return [rule for rule in stream.rules if self.chosen is None or rule.name in self.chosen]

    def setup(self, learner):
        streams = learner.course.streams
        # Copies, whose tables go where the learner goes; other's rules stay where they are.
        self.rules = torch.nn.ModuleList(deepcopy(rule) for rule in self._of(streams[0]))
        arities = {rule.over: rule.arity for rule in self.rules}
        looked = (learner.layout, self.explore, self.count, learner.seeds)
        self.pools = torch.nn.ModuleDict({over: Groups(streams, learner.seeds, over) for over in arities})
        self.looking = torch.nn.ModuleDict({over: Looking(*looked, over, size) for over, size in arities.items()})
        for name, given in self.numbers.items():
            self.register_buffer(name, learner.value(f"{KEY}.{name}", given))
        self.register_buffer("duals", self.strength.unsqueeze(1).repeat(1, len(self.rules)))
        imposed = torch.stack([self._imposed(stream, self.rules) for stream in streams])
        by_some = imposed.any(0).tolist()
        self.kinds = [{rule.over for rule, some in zip(self.rules, row, strict=True) if some} for row in by_some]
        self.of_constraints, self.violation, self.looked_at = None, torch.zeros_like(self.duals), torch.zeros_like(self.duals)
        self.register_buffer("imposed", imposed.to(self.duals), persistent=False)  # [M, phases, rules]
        for name in ("steps", "violated", "opposed"):
            self.register_buffer(name, torch.zeros_like(self.strength))

    def _imposed(self, stream, rules):
        """Which of the rules are imposed in each phase, bool ``[phases, rules]``."""
        tasks = [[stream.tasks[t].rules for t in phase.tasks.unique().tolist()] for phase in stream.phases]
        rows = [[any(names is None or rule.name in names for names in own) for rule in rules] for own in tasks]
        imposed = torch.tensor(rows)
        return imposed.cummax(0).values if self.keep else imposed

    # --- in a step ----------------------------------------------------------------------------------------------------

    def rehearse(self, learner, steps):
        self.columns = {}
        for over, pool in self.pools.items():
            if over in self.kinds[learner.phase] and pool.there(learner.phase):
                examples, tasks, there = pool.draw(learner.phase, steps.clock, self.groups)
                self.columns[over] = (slice(steps.width, steps.width + examples.shape[2]), there)
                steps = steps.join(examples, tasks, torch.zeros_like(examples, dtype=torch.float32))
        return steps

    def loss(self, learner, batch, logits):
        total = self._total(learner, batch, logits)
        if total is None or self.integrate in ("sum", "lagrangian"):
            return total
        leaves = learner.population.leaves
        found = torch.autograd.grad(total.sum(), list(leaves.values()), retain_graph=True, allow_unused=True)
        learner.count(backward=batch.width)
        pairs = zip(leaves.items(), found, strict=True)
        self.of_constraints = {name: torch.zeros_like(leaf) if h is None else h for (name, leaf), h in pairs}
        return None

    def _total(self, learner, batch, logits):
        """All rules' losses, weighted and added up: ``[M]``; None where there is nothing to impose them on."""
        self.violation, self.looked_at = torch.zeros_like(self.duals), torch.zeros_like(self.duals)
        if not self.kinds[learner.phase]:
            return None
        log_probs, terms, here = learner.log_probabilities(batch, logits), [], self.imposed[:, learner.phase]
        weights = here * (self.duals if self.integrate == "lagrangian" else self.strength.unsqueeze(1))
        for over, looking in self.looking.items():
            columns, counts = self._groups(learner, over, batch) if over in self.kinds[learner.phase] else (None, None)
            if counts is None:
                continue
            tasks = batch.tasks if batch.tasks.shape[1] == 1 else batch.tasks[:, columns]
            looked = looking(learner, batch.inputs[:, columns], tasks, log_probs[:, columns])
            for r, rule in enumerate(self.rules):
                if rule.over == over:
                    loss, violation = self._of_rule(rule, looked)
                    terms.append(weights[:, r] * (loss * counts).sum(1))
                    self.looked_at[:, r] = here[:, r] * (counts > 0).any(1)
                    self.violation[:, r] = (violation * counts).sum(1) * here[:, r]
        return sum(terms) if terms else None

    def _groups(self, learner, over, batch):
        """The columns of the batch that are groups of this kind, and how much each group counts ``[M, G]``."""
        drawn, there = self.columns.get(over, (None, None))
        alike = None if drawn is None else (there / self.groups).to(self.strength).unsqueeze(1).expand(-1, self.groups)
        if over != "single" or self.pools[over].everyones(learner.phase):
            return drawn, alike
        taken = (batch.weights_or_ones()[:, : batch.current] > 0).to(self.strength)
        counts = taken / taken.sum(1, keepdim=True).clamp(min=1)
        if drawn is None:
            return slice(batch.current), counts
        # Some members have groups of their own, which are drawn; the others' rules are imposed on the batch.
        columns = torch.cat([torch.arange(each.start or 0, each.stop) for each in (slice(batch.current), drawn)])
        return columns.to(counts.device), torch.cat([counts * ~there.unsqueeze(1), alike], 1)

    def _of_rule(self, rule, looked):
        """A rule's loss and its violation for every group, ``[M, G]`` each."""
        if looked.answers is not None:
            violated = rule.violated(looked.answers, looked.inputs, looked.real).to(looked.shares)
            violation = (looked.shares * violated).sum(0)
            if self.kind != "soft":
                return (looked.shares * self._advantage(violated, looked.shares) * looked.scores).sum(0), violation
        if self.logic == "log_product":
            false = -rule.log_truth(looked.log_probs, looked.inputs, looked.real)
        else:
            false = 1 - rule.truth(looked.log_probs, looked.inputs, looked.real, self.logic)
        if looked.answers is None:
            return false[0], (-torch.expm1(-false[0]) if self.logic == "log_product" else false[0]).detach()
        return (looked.shares * violated * false).sum(0), violation

    def _advantage(self, violated, shares):
        """c - b, ``[K, M, G]``."""
        if self.kind == "hard" or self.baseline == "none":
            return violated
        if self.explore == "samples":
            return (violated - violated.mean(0)) * (self.count / (self.count - 1))
        return violated - (shares * violated).sum(0)

    def gradient(self, learner, batch):
        if self.of_constraints is None:
            return
        leaves = learner.population.leaves
        task = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in leaves.items()}
        constraint, self.of_constraints = self.of_constraints, None
        along = products(task, constraint)
        self.opposed += (along < 0) & batch.taking_part()
        of_task, of_constraint = self._kept(learner, along, squares(task), squares(constraint))
        for name, g in task.items():
            shape = (-1, *[1] * (g.dim() - 1))
            leaves[name].grad = of_task.view(shape) * g + of_constraint.view(shape) * constraint[name]

    def after_step(self, learner, batch):
        looked_at = self.looked_at * batch.taking_part().unsqueeze(1)
        rules = looked_at.sum(1)
        self.steps += rules > 0
        self.violated += (self.violation * looked_at).sum(1) / rules.clamp(min=1)
        if self.integrate == "lagrangian":
            moved = self.duals + self.step.unsqueeze(1) * (self.violation - self.tolerance.unsqueeze(1))
            self.duals.copy_(torch.where(looked_at > 0, moved.clamp(min=0), self.duals))

    def _kept(self, learner, along, of_task, of_constraint):
        """How much of g and of h is in what is followed, ``[M]`` each, from their product and their squared norms."""
        one = torch.ones_like(along)
        if self.integrate == "alternating":
            second = (learner.clock % 2).to(along) * self.looked_at.amax(1)
            return one - second, second
        taken = along if self.integrate == "orthogonal" else along.clamp(max=0)
        h_from_g = taken / of_constraint.clamp(min=1e-30) if self.integrate in ("project_task", "project_both") else 0
        moves_h = self.integrate in ("project_constraint", "project_both", "orthogonal")
        g_from_h = taken / of_task.clamp(min=1e-30) if moves_h else 0
        return one - g_from_h, one - h_from_g

    def diagnostics(self):
        """``violation``: of rules that are imposed, its mean over steps; ``opposed``: the share of steps in which the two
        gradients point against each other, where they are held against each other."""
        found = {"violation": self.violated / self.steps}
        if self.integrate not in ("sum", "lagrangian"):
            found["opposed"] = self.opposed / self.steps
        if self.integrate == "lagrangian":
            found |= {f"dual_{rule.name}": self.duals[:, r] for r, rule in enumerate(self.rules)}
        return found
