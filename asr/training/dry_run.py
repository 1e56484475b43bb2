"""The answer of `asr train --dry-run`: what a run will take, in a table."""

from asr.training.estimate import MEASURED_STEPS, VALIDATION_SHARE, Estimate


def describe(estimate: Estimate) -> str:
    """Lay out an estimate as lines of text.

    Args:
        estimate: of ``asr.training.estimate``.
    """
    e = estimate
    rows = [
        ("training speech", _training_speech(e)),
        ("validation speech", f"{e.valid_hours:.2f} h in {e.valid_utterances:,} utterances"),
        (
            "steps",
            f"{e.steps_per_epoch:,} an epoch of {e.batch_seconds:g} s, {e.epochs} epochs: "
            f"{e.steps:,}; {100 * e.padding_share:.1f} % padding",
        ),
        ("parameters", f"{e.parameters / 1e6:.2f} M"),
        (
            "operations",
            f"{e.flops_per_second / 1e9:.2f} GFLOP a second of audio, "
            f"{e.flops_per_epoch / 1e12:,.2f} TFLOP an epoch (forward and backward)",
        ),
        ("devices", f"{e.devices}"),
        (
            "memory",
            f"{e.fixed_bytes / 2**20:,.0f} MiB for weights, gradients and optimizer, "
            f"{e.activation_bytes / 2**20:,.0f} MiB for a batch in float32, on each device",
        ),
        ("time", _time(e)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows)


def _training_speech(e: Estimate) -> str:
    speech = f"{e.train_hours:.2f} h in {e.train_utterances:,} utterances"
    augmented = abs(e.epoch_hours / max(1e-9, e.train_hours) - 1) > 0.01
    return f"{speech}, {e.epoch_hours:.2f} h an epoch as augmented" if augmented else speech


def _time(e: Estimate) -> str:
    if e.measured_on is None:
        return f"not measured: {e.unmeasured}"
    speed = e.batch_seconds * (1 - e.padding_share) / max(1e-9, e.step_seconds)
    several = (
        f"; each of {e.devices} devices, the exchange of gradients left out"
        if e.devices > 1
        else ""
    )
    return (
        f"{e.hours:.2g} h: {e.step_seconds:.2f} s a step on this {e.measured_on}, {speed:.0f} h of "
        f"audio an hour (mean of {MEASURED_STEPS} steps; validation taken as "
        f"{VALIDATION_SHARE:.2f} of training's time a second{several}); peak {e.peak_mib:,.0f} MiB"
    )
