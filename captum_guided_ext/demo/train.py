"""Train the demo network: ``python -m captum_guided_ext.demo.train``.

Without options the weights go to ``demo_network.pt`` in the current folder, and the record of the
training to ``demo_network.json`` beside them. Only ``--install`` replaces those in the package.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from captum_guided_ext.demo._canvas import SIZE
from captum_guided_ext.demo._network import WEIGHTS_FILE, DemoNetwork, normalise
from captum_guided_ext.demo._world import PictureWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_TRAIN_PICTURES, _TEST_PICTURES, _EPOCHS = 10_000, 3_000, 6


@dataclass(frozen=True)
class TrainingRecord:
    """What was measured, and all that it takes to measure it again.

    Attributes:
        test_accuracy: Share of the test pictures whose class was found, in [0, 1].
        test_pictures: Number of pictures it was measured on, none of them trained on.
        test_seed: Seed of their world.
        train_pictures: Number of pictures trained on.
        train_seed: Seed of their world.
        init_seed: Seed of the initial weights and of the order of the pictures.
        epochs: How many times every picture was seen.
        batch_size: Pictures per step.
        torch_version: Version of torch at work.
        numpy_version: Version of numpy at work.
    """

    test_accuracy: float
    test_pictures: int
    test_seed: int
    train_pictures: int
    train_seed: int
    init_seed: int
    epochs: int
    batch_size: int
    torch_version: str
    numpy_version: str


@contextmanager
def _reproducible() -> Iterator[None]:
    """Deterministic algorithms, and afterwards those that were in force before."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def _draw(world: PictureWorld, name: str, report: Callable[[str], None]) -> tuple[Tensor, Tensor]:
    """All pictures as bytes (N, 3, 96, 96), and their labels (N,)."""
    images = torch.empty((len(world), 3, SIZE, SIZE), dtype=torch.uint8)
    labels = torch.empty(len(world), dtype=torch.int64)
    for i, picture in enumerate(world):
        images[i] = torch.from_numpy(picture.image).permute(2, 0, 1)
        labels[i] = picture.label
        if (i + 1) % 2000 == 0 or i + 1 == len(world):
            report(f"{name}: drew {i + 1} of {len(world)} pictures")
    return images, labels


def _initialised(generator: torch.Generator) -> DemoNetwork:
    with torch.device("meta"):
        network = DemoNetwork()
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def _accuracy(network: DemoNetwork, images: Tensor, labels: Tensor) -> float:
    network.eval()
    with torch.inference_mode():
        found = [network(normalise(batch)).argmax(dim=1) for batch in torch.split(images, 256)]
    return (torch.cat(found) == labels).double().mean().item()


def train_demo_network(
    *,
    train_pictures: int = _TRAIN_PICTURES,
    test_pictures: int = _TEST_PICTURES,
    epochs: int = _EPOCHS,
    batch_size: int = 32,
    train_seed: int = 1,
    test_seed: int = 2,
    init_seed: int = 0,
    report: Callable[[str], None] = print,
) -> tuple[DemoNetwork, TrainingRecord]:
    """Train on one world, test on another.

    The same arguments give the same weights, bit for bit, on the same machine, number of
    threads and versions.
    The global state of random numbers is neither read nor changed.

    Args:
        train_pictures: Pictures to train on.
        test_pictures: Pictures to test on.
        epochs: How many times every picture is seen.
        batch_size: Pictures per step.
        train_seed: Seed of the world to train on.
        test_seed: Seed of the world to test on.
        init_seed: Seed of the initial weights and of the order of the pictures.
        report: Is told about the progress, a line at a time.

    Returns:
        The network in evaluation mode on the CPU, and the record of the training.

    Raises:
        ValueError: If a number of pictures or epochs is not positive, or the two worlds are one.
    """
    if min(train_pictures, test_pictures, epochs, batch_size) < 1:
        raise ValueError(
            "train_pictures, test_pictures, epochs and batch_size must be positive, got "
            f"{train_pictures}, {test_pictures}, {epochs} and {batch_size}."
        )
    if train_seed == test_seed:
        raise ValueError(f"train_seed and test_seed must differ, got {train_seed} for both.")
    images, labels = _draw(PictureWorld(train_pictures, seed=train_seed), "training", report)
    generator = torch.Generator().manual_seed(init_seed)
    network = _initialised(generator).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=5e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=3e-3,
        total_steps=epochs * -(-train_pictures // batch_size),
        pct_start=0.2,
        cycle_momentum=False,
    )
    with _reproducible():
        for epoch in range(1, epochs + 1):
            total = 0.0
            order = torch.randperm(train_pictures, generator=generator)
            for batch in torch.split(order, batch_size):
                inputs = normalise(images[batch]).contiguous(memory_format=torch.channels_last)
                loss = nn.functional.cross_entropy(network(inputs), labels[batch])
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += loss.item() * len(batch)
            report(f"epoch {epoch} of {epochs}: mean loss {total / train_pictures:.4f}")
        network = network.to(memory_format=torch.contiguous_format).eval()
        unseen = _draw(PictureWorld(test_pictures, seed=test_seed), "test", report)
        accuracy = _accuracy(network, *unseen)
    report(f"test accuracy: {accuracy:.2%} of {test_pictures} pictures never seen before")
    return network, TrainingRecord(
        test_accuracy=accuracy,
        test_pictures=test_pictures,
        test_seed=test_seed,
        train_pictures=train_pictures,
        train_seed=train_seed,
        init_seed=init_seed,
        epochs=epochs,
        batch_size=batch_size,
        torch_version=str(torch.__version__),
        numpy_version=np.__version__,
    )


def save(network: DemoNetwork, record: TrainingRecord, output: Path) -> None:
    """Write the weights to ``output`` and the record beside them, as ``.json``.

    Both are complete before either takes its name, so a failure leaves what was there before.
    """
    weights = io.BytesIO()
    torch.save(network.state_dict(), weights)
    notes = json.dumps(asdict(record), indent=2) + "\n"
    with ExitStack() as stack:
        moves = []
        for target, content in (
            (output, weights.getvalue()),
            (output.with_suffix(".json"), notes.encode()),
        ):
            scratch = target.with_name(f".{target.name}.{os.getpid()}")
            stack.callback(scratch.unlink, missing_ok=True)
            scratch.write_bytes(content)
            moves.append((scratch, target))
        for scratch, target in moves:
            scratch.replace(target)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m captum_guided_ext.demo.train",
        description="Train the demo network. A few minutes on two cores.",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--output",
        type=Path,
        default=Path(WEIGHTS_FILE),
        metavar="FILE",
        help="where the weights go; the record goes beside them as .json (default: %(default)s)",
    )
    place.add_argument(
        "--install",
        action="store_true",
        help="replace the weights in the package, which load_demo_network reads",
    )
    for option, default, meaning in (
        ("--train-pictures", _TRAIN_PICTURES, "pictures to train on"),
        ("--test-pictures", _TEST_PICTURES, "pictures to test on"),
        ("--epochs", _EPOCHS, "how many times every picture is seen"),
    ):
        parser.add_argument(
            option, type=int, default=default, metavar="N", help=f"{meaning} (default: {default})"
        )
    arguments = parser.parse_args(argv)
    # Better now than after minutes of training.
    if not arguments.output.parent.is_dir():
        parser.error(f"--output: there is no folder {arguments.output.parent}")
    if arguments.output.suffix == ".json":
        parser.error("--output names the weights; the record takes the same name with .json")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Train as told on the command line; the result is the exit status."""
    arguments = _arguments(argv)
    output = Path(__file__).with_name(WEIGHTS_FILE) if arguments.install else arguments.output
    started = time.perf_counter()
    network, record = train_demo_network(
        train_pictures=arguments.train_pictures,
        test_pictures=arguments.test_pictures,
        epochs=arguments.epochs,
    )
    save(network, record, output)
    print(f"wrote {output} ({time.perf_counter() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
