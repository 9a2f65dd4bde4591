"""An attentive encoder-decoder (Cho et al. 2014, Luong et al. 2015): sequences told from sequences, one place after the other.

Letters in shapes: B sequences, S source tokens, T places to be told, C classes, K answers to each, W width.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from lab.errors import UserError, invalid, whole
from lab.rules import PADDING, UNSAYABLE, Layout

KEPT = 1e4
"""What a gate is told for it to be shut: its sigmoid is exactly 1."""


class EncoderDecoder(nn.Module):
    """Tokens int64 ``[B, S + T]`` -> logits ``[B, T, outputs]``: the source, then a token to begin with and what was told at
    the places before each (:class:`lab.rules.Layout`, of data that are answered one place after the other).

    A gated recurrent unit runs over the source in both directions, another one over what was told; its state h_t asks the
    encoded source, c_t = sum_s softmax_s(h_t . k_s / sqrt(W)) v_s, and answers by tanh(A h_t + c_t). What the source answers
    does not flow back into the state, so that in training all places ask at once.

    No layer of torch's own recurrences: these cannot be stacked. A gate has one bias, and starts as torch's do.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, layout: Layout | None = None, width: int = 32):
        """Raises :class:`~lab.errors.UserError` for data that are not answered one place after the other."""
        super().__init__()
        if layout is None or not layout.decoded:
            expected = "data that are answered one place after the other, such as environment=transduction"
            raise invalid("network", "encoder_decoder", expected)
        if outputs != len(layout.told):
            raise UserError(f"network: encoder_decoder tells {len(layout.told)} classes, and the stream has {outputs} outputs")
        whole("network.width", width, 1)
        self.source, self.places, self.told, self.end = layout.source, layout.places, layout.told, layout.end
        self.embedding = nn.Embedding(len(layout.tokens), width)
        self.encoder, self.decoder = Recurrence(2, width), Recurrence(1, width)
        self.begin, self.keys_and_values = nn.Linear(2 * width, width), nn.Linear(2 * width, 2 * width)
        self.own, self.head = nn.Linear(width, width), nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """All places at once, each as if those before it had been answered as ``tokens`` tell."""
        if tokens.is_floating_point():
            raise invalid("network", "encoder_decoder", f"inputs that are tokens, and these are {tokens.dtype}")
        state_BW, memory = self.encoded(tokens[:, : self.source])
        told_BTW = self.embedding(tokens[:, self.source :])
        states_BTW = self.decoder(told_BTW.unsqueeze(0), state_BW.unsqueeze(0)).squeeze(0)
        return self.answered(states_BTW, memory)

    def encoded(self, source_BS: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The decoder's first state ``[B, W]``; keys and values ``[B, S, W]``, what padding adds to scores ``[B, 1, S]``."""
        padding_BS = source_BS == PADDING
        both = torch.stack([source_BS, source_BS.flip(1)])
        start = self.embedding.weight.new_zeros(2, len(source_BS), self.embedding.embedding_dim)
        forth_BSW, back_BSW = self.encoder(self.embedding(both), start, both == PADDING).unbind(0)
        last_BV = torch.cat([forth_BSW[:, -1], back_BSW[:, -1]], 1)
        encoded_BSV = torch.cat([forth_BSW, back_BSW.flip(1)], 2)
        keys, values = self.keys_and_values(encoded_BSV).chunk(2, 2)
        return self.begin(last_BV).tanh(), (keys, values, (padding_BS * UNSAYABLE).to(keys.dtype).unsqueeze(1))

    def answered(self, states: Tensor, memory: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Logits ``[B, N, C]`` of any N states ``[B, N, W]`` of each sequence's decoder."""
        keys, values, padding = memory
        scores_BNS = states @ keys.mT / sqrt(states.shape[-1]) + padding
        return self.head((self.own(states) + scores_BNS.softmax(-1) @ values).tanh())

    def decode(self, tokens: Tensor, noise: Tensor | None = None, beams: int = 1) -> Tensor:
        """K answers to each source, classes int64 ``[B, K, T]``, each filled up with the class that ends it.

        Args:
            tokens: ``[B, S + T]``; behind the source only the token to begin with is looked at.
            noise: Gumbel noise ``[B, K, T, C]``: each place is answered by the class whose log-probability plus noise is the
                largest, a sample of the network's own distribution. None: a beam search that keeps the ``beams`` most
                probable beginnings, and gives what they became, the most probable answer first.
        """
        answers = beams if noise is None else noise.shape[1]
        state_BW, memory = self.encoded(tokens[:, : self.source])
        states = state_BW.unsqueeze(1).expand(-1, answers, -1)
        # What the decoder is shown of each class, worked out once; chosen by number, since told is no tensor of the network's.
        shown_CV = self.decoder.shown(torch.stack([self.embedding.weight[token] for token in self.told]).unsqueeze(0))[0]
        first_BV = self.decoder.shown(self.embedding(tokens[:, self.source]).unsqueeze(0))[0]
        shown, search = first_BV.unsqueeze(1).expand(-1, answers, -1), Search(len(tokens), answers, self.end, state_BW)
        for place in range(self.places):
            states = self.decoder.step(shown, states, 0)
            logits = self.answered(states, memory)
            if noise is None:
                wide = torch.promote_types(logits.dtype, torch.float32)
                states = search.extend(logits.log_softmax(-1, dtype=wide), states)
            else:  # which class has the largest sum does not depend on what all logits have in common
                search.choose((logits + noise[:, :, place]).argmax(-1))
            shown = nn.functional.embedding(search.last, shown_CV)
        return search.answers()


class Recurrence(nn.Module):
    """``directions`` gated recurrent units side by side, each over its own order of a sequence:
    r, z = sigmoid(W x + U h), n = tanh(W x + r * U h), h <- (1 - z) n + z h."""

    def __init__(self, directions: int, width: int):
        super().__init__()
        bound = 1 / sqrt(width)
        self.width = width
        self.weight_x = nn.Parameter(torch.empty(directions, width, 3 * width).uniform_(-bound, bound))
        self.weight_h = nn.Parameter(torch.empty(directions, width, 3 * width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(directions, 1, 3 * width).uniform_(-bound, bound))

    def forward(self, inputs: Tensor, state: Tensor, padding: Tensor | None = None) -> Tensor:
        """The states ``[D, B, L, W]`` behind inputs ``[D, B, L, W]``, from ``state`` ``[D, B, W]`` on, which stays as it is at
        ``padding`` ``[D, B, L]``."""
        shown = self.shown(inputs.flatten(1, 2)).unflatten(1, inputs.shape[1:3])
        if padding is not None:
            kept = (padding * KEPT).to(shown.dtype).unsqueeze(3)
            shown = shown + nn.functional.pad(kept.expand(-1, -1, -1, self.width), (self.width, self.width))
        states = []
        for x in shown.unbind(2):
            state = self.step(x, state)
            states.append(state)
        return torch.stack(states, 2)

    def shown(self, inputs: Tensor) -> Tensor:
        """What gates are told of inputs ``[D, N, W]``: ``[D, N, 3 W]``."""
        return inputs @ self.weight_x + self.bias

    def step(self, shown: Tensor, state: Tensor, direction: int | None = None) -> Tensor:
        """The next state ``[D, B, W]`` from the last one and what is :meth:`shown`; or that of one direction, ``[..., W]``."""
        asked = state @ (self.weight_h if direction is None else self.weight_h[direction])
        both, width = 2 * self.width, self.width
        reset, keep = (shown[..., :both] + asked[..., :both]).sigmoid().split(width, -1)
        new = torch.addcmul(shown[..., both:], reset, asked[..., both:]).tanh()
        return torch.lerp(new, state, keep)


class Search:
    """The beginnings of K answers to each of B sources, place by place; steps are tensor operations alone."""

    def __init__(self, sources: int, answers: int, end: int, like: Tensor):
        self.end, self.chosen, self.parents = end, [], []
        self.last = torch.full((sources, answers), -1, device=like.device)
        self.number = torch.arange(answers, device=like.device)
        self.scores = (self.number > 0) * (2 * UNSAYABLE)  # at first there is one beginning, and K - 1 that are none

    def choose(self, classes: Tensor) -> None:
        """Go on with these classes ``[B, K]``, where an answer has not ended."""
        self.last = torch.where(self.last == self.end, self.end, classes)
        self.chosen.append(self.last)
        self.parents.append(None)

    def extend(self, log_probs: Tensor, states: Tensor) -> Tensor:
        """Keep the most probable of all continuations ``[B, K, C]``; gives the states ``[B, K, W]`` of what they continue."""
        classes = log_probs.shape[2]
        over = (self.last == self.end).unsqueeze(2)
        stays = (torch.arange(classes, device=log_probs.device) != self.end) * (4 * UNSAYABLE)
        total = self.scores.unsqueeze(-1) + torch.where(over, stays, log_probs)
        self.scores, best = total.flatten(1).topk(log_probs.shape[1], 1)
        parents, self.last = best // classes, best % classes
        self.chosen.append(self.last)
        self.parents.append(parents)
        return states.gather(1, parents.unsqueeze(2).expand_as(states))

    def answers(self) -> Tensor:
        """Classes ``[B, K, T]``: from the last place back, each from its parent."""
        places, now = [], None
        for chosen, parents in zip(reversed(self.chosen), reversed(self.parents), strict=True):
            places.append(chosen if now is None else chosen.gather(1, now))
            if parents is not None:
                now = parents if now is None else parents.gather(1, now)
        return torch.stack(places[::-1], 2)
