"""Drawing codes from a stage, step by step (MusicLM, sec. 4.3; temperatures there: 1.0, 0.95, 0.4).

At each step the layout says which levels are due and only their logits are computed, so that no code
outside its level's range can come out. All randomness comes from the generator passed in, or from one for
each sample that the rows are of, so that it is drawn as it would be alone; temperature 0 takes the most
likely code.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from musiclm.machine.cpus import on_free_cpus
from musiclm.stages.layout import ABSENT, Layout, check_range
from musiclm.stages.stage import Stage

FEW_ROWS = 32  # of logits, which one thread divides sooner than several

Generators = torch.Generator | Sequence[torch.Generator] | None


@torch.inference_mode()
def sample_codes(
    stage: Stage,
    conditions: Mapping[str, Tensor | None],
    *,
    frames: int,
    prompt: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    guidance: float = 1.0,
    guidance_by: Mapping[str, float] | None = None,
    generator: Generators = None,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Draw target codes [B, Q, frames] for B independent rows.

    Args:
        stage: in eval mode.
        conditions: codes [B, levels, T] of every conditioning segment, covering the frames asked for (further
            frames serve the lookahead). An optional one may be None or missing, where it is absent, or end
            early.
        frames: length of the result, the prompt included.
        prompt: known first frames [B, Q, T0 <= frames]; the result begins with them.
        temperature: divides the logits; 0 takes the most likely code.
        top_k: draw among the k most likely codes only.
        top_p: draw among the fewest codes whose probabilities reach p only.
        guidance: classifier-free guidance scale against all optional conditions absent (the prompt and the
            melody, as in MusicGen); 1 is off.
        guidance_by: further guidance by single optional conditions, against that one absent and all others
            there; 0 is off. Each takes as many rows again.
        generator: source of all randomness, on the stage's device; of several, each draws an equal share of
            the rows, in order.
        on_step: called after each step with the number of frames begun beyond the prompt.

    Raises:
        ValueError: conditions, prompt or sampling values that do not fit the stage.
    """
    layout, device = stage.layout, stage.embedding.weight.device
    guidance_by = {name: scale for name, scale in (guidance_by or {}).items() if scale}
    _check_sampling(temperature, top_k, top_p, guidance, guidance_by, layout)
    codes, batch = _check_conditions(layout, conditions, prompt, frames, device)
    known = 0 if prompt is None else prompt.shape[2]
    if known == frames:
        assert prompt is not None
        return prompt.to(device, torch.int64, copy=True)
    left_out = [set(codes)] if guidance != 1.0 else []  # of what the rows after the batch's own are not told
    left_out += [{name} for name in guidance_by]
    codes = {
        name: torch.cat(
            [value, *(_absent(layout, name, value) if name in each else value for each in left_out)]
        )
        for name, value in codes.items()
    }
    rows = batch * (1 + len(left_out))

    steps, first = layout.steps(frames), layout.known_steps(known)
    tokens = torch.full((batch, steps, layout.columns), layout.blank, device=device)  # [B, N, K]
    if prompt is not None:
        laid = layout.flatten(prompt.to(device, torch.int64))
        tokens[:, : laid.shape[1]] = laid[:, :steps]

    read = layout.shift(tokens[:, : first + 1]).repeat(rows // batch, 1, 1)  # [rows, first + 1, K]
    with on_free_cpus():  # the steps after it look for themselves: stages/step/threads.c
        opening, added = _open(stage, codes, read, frames)  # [rows, P + first + 1, D], [rows, N, D]
        cache = stage.transformer.new_cache(rows, opening.shape[1] - (first + 1) + steps)
        hidden, cache = stage.transformer.prefill(opening, cache)
    start, size = layout.offsets[layout.target.name], layout.target.codebook_size
    ranges = start + size * torch.arange(layout.target.levels, device=device)  # [Q], first id of each level

    for step in range(first, steps):
        due = layout.due(step, frames, known)
        levels = slice(due.start, due.stop)
        logits = stage.logits(hidden[:, -1], levels)  # [rows, due, codebook_size]
        if left_out:
            told, *untold = logits.chunk(1 + len(left_out))
            logits = untold[0] + guidance * (told - untold[0]) if guidance != 1.0 else told
            for scale, without in zip(guidance_by.values(), untold[-len(guidance_by) :], strict=False):
                logits = logits + scale * (told - without)
        drawn = sample(
            logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator
        )  # [B, due]
        columns = slice(0, 1) if layout.pattern == "flatten" else levels
        tokens[:, step, columns] = drawn + ranges[levels]
        if on_step is not None:
            on_step(layout.frames_begun(step, frames) - known)
        if step + 1 < steps:
            x = stage.embed_tokens(tokens[:, step : step + 1]).repeat(rows // batch, 1, 1)  # [rows, 1, D]
            hidden, cache = stage.transformer.decode_step(x + added[:, step + 1 : step + 2], cache)
    return layout.unflatten(tokens)


@torch.inference_mode()
def forced_logits(stage: Stage, codes: Mapping[str, Tensor]) -> Tensor:
    """Logits [B, Q, T, codebook_size] of given codes by cached steps, as drawing them would have seen them.

    `Stage.forward` says the same in one pass over float32 matrices; the difference is what a precision costs.

    Args:
        stage: in eval mode.
        codes: [B, levels, T] of every segment, the target among them.
    """
    layout, target = stage.layout, codes[stage.layout.target.name]
    batch, levels, frames = target.shape
    read = layout.shift(layout.flatten(target))  # [B, N, K]
    prefix, added = stage.embed_conditions(codes, batch, frames)
    steps = stage.embed_tokens(read) + added  # [B, N, D]
    cache = stage.transformer.new_cache(batch, prefix.shape[1] + steps.shape[1])
    hidden, cache = stage.transformer.prefill(torch.cat([prefix, steps[:, :1]], dim=1), cache)
    logits = [stage.logits(hidden[:, -1], slice(0, levels))]  # [B, Q, codebook_size] at each step
    for step in range(1, steps.shape[1]):
        hidden, cache = stage.transformer.decode_step(steps[:, step : step + 1], cache)
        logits.append(stage.logits(hidden[:, -1], slice(0, levels)))
    due = layout.step_of(frames, target.device)  # [Q, T]
    return torch.stack([torch.stack(logits, dim=1)[:, due[q], q] for q in range(levels)], dim=1)


def sample(
    logits: Tensor,
    *,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: Generators = None,
) -> Tensor:
    """Indices [...] drawn from logits [..., V]; the arguments are those of `generate`."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float() / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        smallest = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    probabilities = _softmax(logits)
    if top_p is not None and top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= top_p  # p was reached before this one
        probabilities = probabilities.masked_fill(beyond.gather(-1, order.argsort(dim=-1)), 0.0)
    # The shortest of exponential waiting times with these rates is a draw, and needs no sync (gpt-fast).
    waiting = torch.empty_like(probabilities)
    sources = generator if isinstance(generator, Sequence) else [generator]
    assert len(waiting) % len(sources) == 0
    for rows, source in zip(waiting.chunk(len(sources)), sources, strict=True):
        rows.exponential_(generator=source)
    return (probabilities / waiting).argmax(dim=-1)


def _open(stage: Stage, codes: Mapping[str, Tensor], tokens: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """The first steps of all rows: prefix and tokens [rows, n, K] as embedded steps [rows, P + n, D].

    On a CPU one row after another, as `Transformer.prefill` does.

    Returns:
        Them, and what the conditions add to each of the N steps of the target, [rows, N, D].
    """
    rows = len(tokens)
    at_once = 1 if tokens.device.type == "cpu" else rows
    openings, additions = [], []
    for start in range(0, rows, at_once):
        own = slice(start, start + at_once)
        prefix, added = stage.embed_conditions(
            {name: value[own] for name, value in codes.items()}, at_once, frames
        )
        read = stage.embed_tokens(tokens[own]) + added[:, : tokens.shape[1]]
        openings.append(torch.cat([prefix, read], dim=1))
        additions.append(added)
    return torch.cat(openings), torch.cat(additions)


def _absent(layout: Layout, name: str, codes: Tensor) -> Tensor:
    segment = next(segment for segment in layout.conditions if segment.name == name)
    return torch.full_like(codes, ABSENT) if segment.optional else codes


def _check_conditions(
    layout: Layout,
    conditions: Mapping[str, Tensor | None],
    prompt: Tensor | None,
    frames: int,
    device: torch.device,
) -> tuple[dict[str, Tensor], int]:
    """Every condition as codes ready to be laid, on the device, and the number of rows."""
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    expected = [segment.name for segment in layout.conditions]
    required = {segment.name for segment in layout.conditions if not segment.optional}
    if not required <= set(conditions) <= set(expected):
        raise ValueError(f"conditions must be {expected}, got {sorted(conditions)}")
    given = [value for value in (*conditions.values(), prompt) if value is not None]
    batch = given[0].shape[0] if given and given[0].dim() == 3 else 1
    if prompt is not None:
        shape = [batch, layout.target.levels]
        if prompt.dim() != 3 or list(prompt.shape[:2]) != shape or prompt.shape[2] > frames:
            raise ValueError(
                f"the prompt must be codes {[*shape, f'T <= {frames}']}, got {list(prompt.shape)}"
            )
        check_range(layout.target, prompt)
    return {
        segment.name: layout.check_condition(segment, conditions.get(segment.name), batch, frames, device)
        for segment in layout.conditions
    }, batch


def _check_sampling(
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    guidance: float,
    guidance_by: Mapping[str, float],
    layout: Layout,
) -> None:
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 or more, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], got {top_p}")
    if not all(-float("inf") < scale < float("inf") for scale in (guidance, *guidance_by.values())):
        raise ValueError(f"guidance must be a number, got {guidance}, {dict(guidance_by)}")
    optional = [segment.name for segment in layout.conditions if segment.optional]
    if unknown := [name for name in guidance_by if name not in optional]:
        raise ValueError(f"guidance by {unknown[0]} needs a condition that may be absent, of {optional}")
    if guidance != 1.0 and not any(segment.optional for segment in layout.conditions):
        raise ValueError(f"guidance {guidance} needs an optional condition, the stage has none; use 1")


def _softmax(logits: Tensor) -> Tensor:
    """Probabilities [..., V] of logits [..., V].

    On a CPU torch shares out two rows or more among its threads. Those take longer to wake than the work
    does, so few rows go one by one: each is the same bit by bit.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    if logits.device.type != "cpu" or len(rows) > FEW_ROWS:
        return logits.softmax(dim=-1)
    return torch.stack([row.softmax(dim=-1) for row in rows]).view(logits.shape)
