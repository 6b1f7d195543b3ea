"""What the numbers of an audit say, in sentences: the same in the page and in the model card's summary."""

from collections.abc import Sequence

from musiclm.audit.figures import NARROW, interval, of, percent, share
from musiclm.audit.schema import MatchRates, Report
from musiclm.metrics.statistics import Estimate

MEASURES = ("exact", "agreement", "approximate", "approximate_high_entropy")
SET_NAMES = {"training": "training", "held-out": "held out"}
NO_EXAMPLE = Estimate(0, 0, 0.0, 0.0, 0.0)


def finding_sentence(report: Report) -> str:
    """The finding in one sentence: exact matches at the longest prompt, greedy, against the control."""
    training, held_out = _longest(report, "exact")
    if not training.examples:
        return "No training example was tested, so this audit says nothing about memorization."
    return (
        f"Of {training.examples:,} training examples, the model continued {_count(training)} "
        f"({share(training)}, 95{NARROW}% interval {interval(training)}) token for token when shown "
        f"{_shown(report, longest_prompt(report))} of them; {_control(held_out)}."
    )


def near_copies_sentence(report: Report) -> str:
    """The same for approximate matches."""
    training, held_out = _longest(report, "approximate")
    if not training.examples:
        return ""
    return (
        f"It came near the original (transport cost below τ = {report.calibration.tau:.3g}) in "
        f"{_count(training)} ({share(training)}, {interval(training)}); {_control(held_out)}."
    )


def comparison_sentence(report: Report) -> str:
    """Whether training and control differ by more than their intervals allow, at any prompt and decoding."""
    controls = {_case(row): row for row in report.rates if row.set == "held-out"}
    compared = [
        (
            row,
            measure,
            row.measure(measure),
            controls[_case(row)].measure(measure) if _case(row) in controls else NO_EXAMPLE,
        )
        for row in report.rates
        if row.set == "training" and row.exact.examples
        for measure in ("exact", "approximate")
    ]
    if not compared:
        return ""
    if not any(control.examples for *_, control in compared):
        return "Without held-out music it cannot be said how many of these would have come about by chance."
    above = [case for case in compared if case[2].low > case[3].high]
    all_of_them = f"{len(compared)} comparisons (exact and approximate, greedy and sampled, every prompt)"
    if above:
        by_heart = any(case[1] == "exact" for case in above)  # every exact match is an approximate one too
        row, measure, training, held_out = max(
            (case for case in above if case[1] == "exact" or not by_heart),
            key=lambda case: case[2].low - case[3].high,
        )
        return (
            f"In {len(above)} of {all_of_them} there are more matches on training music than on music it "
            f"never saw, by more than the intervals allow; most clearly {measure} ones, {row.decoding}, "
            f"shown {_shown(report, row.prompt_tokens)}: {share(training)} against {share(held_out)}. "
            f"Some training music is {'known by heart' if by_heart else 'remembered in part'}."
        )
    if any(training.count for _, measure, training, _ in compared if measure == "exact"):
        return (
            f"In none of {all_of_them} are there more matches on training music than on held-out music by "
            "more than the intervals allow: this audit alone cannot tell memory from chance here."
        )
    return (
        f"In none of {all_of_them} are there more matches on training music than on held-out music by more "
        "than the intervals allow: this audit saw no memorization. Rates below the upper ends of the "
        "intervals it cannot exclude."
    )


def planned_sentence(report: Report) -> str:
    """Whether a plan that is copied from training music makes copies likelier; "" where none is followed."""
    longest, measure = longest_prompt(report), "approximate"
    told, control = (_rate(report, kind, "planned", longest, measure) for kind in ("training", "held-out"))
    if not told.examples:
        return ""
    untold = greedy(report, "training", longest, measure)
    held_out = f", held out {share(control)} ({interval(control)})" if control.examples else ""
    return (
        "Told the beats, keys, chords and drums of the training music itself, as by a copied plan, and shown "
        f"{_shown(report, longest)}: approximate {share(told)} ({interval(told)}){held_out}; without them "
        f"{share(untold)} ({interval(untold)})."
    )


def sampled_sentence(report: Report) -> str:
    """The same question, were the continuations drawn instead of the most likely ones."""
    longest = longest_prompt(report)
    rates = [
        (
            measure,
            _rate(report, "training", "sampled", longest, measure),
            _rate(report, "held-out", "sampled", longest, measure),
        )
        for measure in ("exact", "approximate")
    ]
    if not rates[0][1].examples:
        return "No continuation was drawn."
    said = "; ".join(
        f"{measure} {share(training)} ({interval(training)})"
        + (f", held out {share(control)} ({interval(control)})" if control.examples else "")
        for measure, training, control in rates
    )
    temperature = report.protocol.temperature
    return f"Drawn at temperature {temperature:g} instead, shown {_shown(report, longest)}: {said}."


def rendered_sentence(report: Report) -> str:
    """Whether the acoustic decoder makes training music nearer to itself than music it never saw."""
    rendered = report.rendered
    if rendered is None:
        return ""
    training, held_out = rendered.sets
    said = (
        f"Told the true tokens of {training.examples} stretches of training music and of "
        f"{held_out.examples} held-out ones, the acoustic decoder makes sound at a mel distance of "
        f"{training.mel_distance:.3f} and {held_out.mel_distance:.3f} from theirs (from others' "
        f"{training.unrelated_mel_distance:.3f} and {held_out.unrelated_mel_distance:.3f}); training music "
        f"is nearer by {rendered.nearer:.3f} (95{NARROW}% interval {rendered.low:.3f} to "
        f"{rendered.high:.3f})"
    )
    if rendered.low > 0:
        return f"{said}: some of how its recordings sound is remembered."
    return f"{said}: this shows no memory of how its recordings sound."


def verified_sentence(report: Report) -> str:
    """Whether the false-positive rate is shown on pairs that were not used to fit τ."""
    calibration = report.calibration
    verified, target = calibration.verified, percent(calibration.target)
    found = (
        f"On {verified.pairs:,} unrelated pairs that were not used for fitting, τ = "
        f"{calibration.tau:.3g} called {verified.false_positives:,} a match "
        f"({percent(verified.rate)}{NARROW}%; with 95{NARROW}% confidence at most "
        f"{percent(verified.upper)}{NARROW}%): a false-positive rate below {target}{NARROW}% is"
    )
    if calibration.holds:
        return f"{found} shown."
    return f"{found} not shown, so that some approximate matches may be chance."


def duplicates_sentence(report: Report) -> str:
    """What the store holds more than once."""
    duplicates = report.duplicates
    occur = ", ".join(f"{stratum.windows:,} occur {stratum.name}×" for stratum in duplicates.strata)
    groups = len(duplicates.identical_recordings)
    identical = f"{groups:,} sets of recordings are" if groups != 1 else "1 set of recordings is"
    return (
        f"Of {duplicates.windows:,} stretches of the training recordings, {occur or 'none was counted'}. "
        f"{identical} identical from beginning to end."
    )


def search_sentence(report: Report) -> str:
    """What the search of the whole store compared with, and found."""
    search = report.search
    if search is None:
        return "The store was not searched for windows of other recordings."
    null, rows = search.null, search.found
    nearer = {
        (row.set, row.decoding): row.another_recording
        for row in rows
        if row.prompt_tokens == longest_prompt(report)
    }
    found = "; ".join(
        f"of the {decoding} ones {of(nearer['training', decoding])} ({share(nearer['training', decoding])}, "
        f"{interval(nearer['training', decoding])})"
        + (
            f", of those of held-out music {share(control)} ({interval(control)})"
            if (control := nearer.get(("held-out", decoding), NO_EXAMPLE)).examples
            else ""
        )
        for decoding in ("greedy", "sampled")
    )
    return (
        f"Each continuation was compared with {search.windows:,} windows of the training store, not only "
        f"with its own recording. As a yardstick, {null.windows:,} windows of real music ({null.source}) "
        f"were searched for in the same way; 1{NARROW}% of them come nearer than {search.threshold:.3g} "
        f"to some window. Nearer than that to a recording other than their own come, of the continuations of "
        f"the longest prompt: {found}. Music below "
        f"{report.protocol.low_entropy_bits:g} bits, held notes and silence, counts on neither side."
    )


def _control(held_out: Estimate) -> str:
    if not held_out.examples:
        return "there was no held-out music to compare with"
    return f"on music it never saw: {of(held_out)} ({share(held_out)}, {interval(held_out)})"


def _count(estimate: Estimate) -> str:
    return f"{estimate.count:,}" if estimate.count else "none"


def worst_sentence(report: Report) -> str:
    rows = [row for row in report.rates if row.set == "training" and row.decoding == "greedy"]
    worst = max(rows, key=lambda row: row.exact.rate, default=None)
    longest, _ = _longest(report, "exact")
    if worst is None or not longest.examples:
        return ""
    if worst.exact.rate <= longest.rate:
        return "No shorter prompt gave a higher rate of exact matches than the longest."
    prompt = _shown(report, worst.prompt_tokens)
    return f"The highest rate of exact matches, {share(worst.exact)}, came with {prompt} as the prompt."


def weighting_sentence(report: Report) -> str:
    estimates = [row.measure(measure) for row in report.rates for measure in MEASURES]
    if all(abs(e.rate * e.examples - e.count) < 1e-6 for e in estimates):
        return ""
    return (
        " Examples were not drawn evenly, so rates are weighted back to the make-up of the store: they need "
        "not equal the count divided by the examples."
    )


def entropy_sentence(report: Report) -> str:
    points, bits = report.entropy, report.protocol.low_entropy_bits
    matched = [point.entropy for point in points if point.matched]
    others = [point.entropy for point in points if not point.matched]
    if not matched:
        return f"Of the {len(points):,} continuations shown here, none is an approximate match."
    rest = f", the {len(others):,} others of {_mean(others):.1f} bits" if others else ""
    low = sum(entropy < bits for entropy in matched)
    return (
        f"The {len(matched):,} matches shown here have a mean entropy of {_mean(matched):.1f} bits{rest}; "
        f"matches below {bits:g} bits: {low:,}. In MusicLM it was 1.0 bit among the nearest matches, "
        "4.6 over all."
    )


def power_sentence(report: Report) -> str:
    power = report.power
    if not power.replaced:
        return "No copies were planted."
    limits = []
    for shares, words in ((power.near, "similar"), (power.far, "distant")):
        seen = [at for at, found in zip(power.replaced, shares, strict=True) if found >= 0.95]
        limits.append(f"{100 * max(seen):g}{NARROW}% {words} tokens" if seen else f"no {words} tokens at all")
    return (
        f"At least 95{NARROW}% of the copies planted on purpose are still found with up to "
        f"{' or '.join(limits)} in place of the true ones. A copy that was changed more may go unseen."
    )


def prompts(report: Report) -> list[int]:
    return sorted(report.protocol.prompt_tokens)


def longest_prompt(report: Report) -> int:
    return max(prompts(report))


def _case(row: MatchRates) -> tuple[str, int]:
    return row.decoding, row.prompt_tokens


def _rate(report: Report, kind: str, decoding: str, tokens: int, measure: str) -> Estimate:
    for row in report.rates:
        if row.set == kind and _case(row) == (decoding, tokens):
            return row.measure(measure)
    return NO_EXAMPLE


def greedy(report: Report, kind: str, tokens: int, measure: str) -> Estimate:
    return _rate(report, kind, "greedy", tokens, measure)


def _longest(report: Report, measure: str) -> tuple[Estimate, Estimate]:
    """Training and held-out estimate at the longest prompt: the hardest test, and the paper's headline."""
    longest = longest_prompt(report)
    return greedy(report, "training", longest, measure), greedy(report, "held-out", longest, measure)


def seconds_of(report: Report, tokens: int) -> str:
    return f"{tokens / report.protocol.frame_rate:g}{NARROW}s"


def _shown(report: Report, tokens: int) -> str:
    return seconds_of(report, tokens) if tokens else "nothing but the conditioning"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
