"""How a times head is learned from clips whose glosses are known and whose times are not.

CTC is content with one step of a gloss, wherever it is, and takes it where the gloss is first known: a step of S3D sees
more than a second of video, so that this is well before the sign. Therefore a first head is trained on near steps,
which see nine frames each and cannot look ahead; the glosses are aligned by it; and a second head learns this alignment
on the features that the encoder makes anyway.

A class counts less the more often it is seen: the logarithm of its share of all steps, `prior` times, is taken off its
score (Huang et al. 2024, Less Peaky and More Accurate CTC Forced Alignment by Label Priors). So the blank, which takes
every step that it can have otherwise, leaves them to the signs: with 1 all but those that look like no sign, ways
between signs included; with little those which show the sign itself.

B: clips. S: steps. C: width of S3D's features. K: gloss classes. L: glosses of a clip.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from slt_pipeline.models.ctc import BLANK, align
from slt_pipeline.models.times import TimesHead

_CLIPS, _RATE, _DECAY = 32, 1e-2, 1e-4
_EPOCHS, _UPDATES = 20, 3000
"""At most, of each head: many clips are seen less often."""
_RAREST = 1e-5
_NEVER = -1e30

_Loss = Callable[[Tensor, Tensor, Sequence[int], Tensor], Tensor]
"""Of log-probabilities (B, S, K) of clips with so many valid steps (B,), which have these numbers, and of what priors
take off (K,)."""


@dataclass(frozen=True)
class Steps:
    """What the times of a training clip are learned from."""

    near: Tensor
    """(S, C): features of near steps."""
    features: Tensor
    """(S, C): of the same steps as the encoder makes them."""
    gloss_ids: tuple[int, ...]
    """The clip's glosses in order."""

    @property
    def fit(self) -> bool:
        """Whether there are glosses, and no more than CTC can align with so many steps."""
        between_equals = sum(a == b for a, b in pairwise(self.gloss_ids))
        return 0 < len(self.gloss_ids) <= len(self.features) - between_equals


def learn_times(clips: Sequence[Steps], num_classes: int, prior: float, seed: int) -> TimesHead:
    """Return a head that knows when glosses are signed.

    Args:
        clips: at least one, whose glosses fit.
        num_classes: K.
        prior: weight of the priors, 0 to 1.
        seed: of all that is drawn; the global generators are afterwards as they were.
    """
    glosses = [torch.tensor(clip.gloss_ids) for clip in clips]

    def of_sequences(log_probs: Tensor, steps: Tensor, chosen: Sequence[int], taken_off: Tensor) -> Tensor:
        labels = pad_sequence([glosses[i] for i in chosen], batch_first=True)
        each = sequence_costs(log_probs - taken_off, steps, labels, torch.tensor([len(glosses[i]) for i in chosen]))
        return each.mean()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        near, taken_off = _trained([clip.near for clip in clips], num_classes, of_sequences, prior)
        with torch.inference_mode():
            labels = [_labels(near(clip.near.float()) - taken_off, clip.gloss_ids) for clip in clips]

        def of_steps(log_probs: Tensor, steps: Tensor, chosen: Sequence[int], _: Tensor) -> Tensor:
            valid = torch.arange(log_probs.shape[1]) < steps[:, None]
            return functional.nll_loss(log_probs[valid], torch.cat([labels[i] for i in chosen]))

        return _trained([clip.features for clip in clips], num_classes, of_steps, prior)[0]


def sequence_costs(scores: Tensor, steps: Tensor, gloss_labels: Tensor, gloss_label_lengths: Tensor) -> Tensor:
    """Return minus the logarithm of the sum over all CTC paths of a gloss sequence: (B,).

    As torch's own loss, of scores that need not be log-probabilities, for which that one's gradient is wrong.

    Args:
        scores: (B, S, K).
        steps: (B,) valid ones.
        gloss_labels: (B, L) classes, anything beyond their lengths.
        gloss_label_lengths: (B,), at least 1.
    """
    num_clips, num_steps, _ = scores.shape
    states = torch.full((num_clips, 2 * gloss_labels.shape[1] + 1), BLANK)  # blank, gloss, blank, ..., blank
    states[:, 1::2] = gloss_labels
    skippable = torch.zeros_like(states, dtype=torch.bool)  # the blank between two glosses that differ
    skippable[:, 3::2] = gloss_labels[:, 1:] != gloss_labels[:, :-1]
    arriving = scores.gather(2, states[:, None].expand(-1, num_steps, -1))
    sums = functional.pad(arriving[:, 0, :2], (0, states.shape[1] - 2), value=_NEVER)
    all_sums = [sums]
    for step in range(1, num_steps):
        one, two = (functional.pad(sums, (back, 0), value=_NEVER)[:, :-back] for back in (1, 2))
        sums = torch.stack((sums, one, two.masked_fill(~skippable, _NEVER))).logsumexp(dim=0) + arriving[:, step]
        all_sums.append(sums)
    ends = torch.stack(all_sums, dim=1)[torch.arange(num_clips), steps - 1]
    last = 2 * gloss_label_lengths[:, None]
    return -ends.gather(1, torch.cat((last - 1, last), dim=1)).logsumexp(dim=1)


def _trained(inputs: Sequence[Tensor], num_classes: int, loss: _Loss, prior: float) -> tuple[TimesHead, Tensor]:
    """Return a head that is trained, in evaluation mode, and what priors take off each class (K,)."""
    seen = torch.cat(list(inputs)).float()
    head = TimesHead(seen.shape[1], num_classes)
    head.mean, head.scale = seen.mean(dim=0), 1 / seen.std(dim=0).clamp(min=1e-5)
    order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))  # clips of similar length together
    batches = [order[start : start + _CLIPS] for start in range(0, len(order), _CLIPS)]
    epochs = max(1, min(_EPOCHS, _UPDATES // len(batches)))
    optimiser = torch.optim.AdamW(head.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * len(batches))
    taken_off = torch.zeros(num_classes)
    for _ in range(epochs):
        shares = torch.zeros_like(taken_off)
        for number in torch.randperm(len(batches)).tolist():
            chosen = batches[number]
            steps = torch.tensor([len(inputs[i]) for i in chosen])
            logits = head(pad_sequence([inputs[i].float() for i in chosen], batch_first=True))
            log_probs = logits.log_softmax(dim=-1)
            optimiser.zero_grad()
            loss(log_probs, steps, chosen, taken_off).backward()
            optimiser.step()
            schedule.step()
            shares += log_probs.detach()[torch.arange(logits.shape[1]) < steps[:, None]].exp().sum(dim=0)
        taken_off = prior * (shares / shares.sum()).clamp(min=_RAREST).log()
    return head.eval(), taken_off


def _labels(scores: Tensor, gloss_ids: Sequence[int]) -> Tensor:
    """Return the class of every step (S,) on the best path of a clip's glosses."""
    labels = torch.full((len(scores),), BLANK)
    for (start, end), gloss in zip(align(scores, gloss_ids), gloss_ids, strict=True):
        labels[start:end] = gloss
    return labels
