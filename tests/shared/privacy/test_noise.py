"""The random source: its stream, its distributions, its keys."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy import stats

from shared.privacy.noise import RandomSource

KEY = hashlib.sha256(b"key").digest()


def test_stream_is_aes_of_the_counter() -> None:
    counters = b"".join(i.to_bytes(16, "big") for i in range(3))
    block = Cipher(algorithms.AES256(KEY), modes.ECB()).encryptor()  # the oracle
    words = np.frombuffer(block.update(counters), dtype="<u8")
    expected = [int(word) // 2**11 / 2**53 for word in words]
    assert RandomSource(KEY, repeatable=True).uniform(6).tolist() == expected


def test_uniforms_are_uniform() -> None:
    x = RandomSource.from_seed(7).uniform(100_000)
    assert stats.kstest(x, "uniform").pvalue > 0.01
    assert x.min() >= 0
    assert x.max() < 1


def test_same_seed_and_context_repeat_and_others_do_not() -> None:
    def draw(*name: str | int) -> list[float]:
        seed, *context = name
        return RandomSource.from_seed(int(seed), *context).uniform(4).tolist()

    names: list[tuple[str | int, ...]] = [(1,), (2,), (1, 1), (1, "1"), (1, "a", "b"), (1, "ab")]
    assert draw(1, "shop", 3) == draw(1, "shop", 3)
    assert len({tuple(draw(*name)) for name in names}) == len(names)
    assert RandomSource.from_seed(1).repeatable


def test_operating_system_keys_never_repeat() -> None:
    first, second = RandomSource.from_os(), RandomSource.from_os()
    assert first.uniform(4).tolist() != second.uniform(4).tolist()
    assert not first.repeatable


def test_noise_is_fresh_on_every_draw() -> None:
    source = RandomSource.from_seed(1)
    draws = [source.words(8).tobytes() for _ in range(100)]
    assert len(set(draws)) == 100


def drawn_by_child(draw: Callable[[], bytes]) -> bytes:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, draw())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(read, 1024)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_repeat_its_parents_noise() -> None:
    secret, simulated = RandomSource.from_os(), RandomSource.from_seed(1)
    assert drawn_by_child(lambda: secret.uniform(4).tobytes()) != secret.uniform(4).tobytes()
    assert drawn_by_child(lambda: simulated.uniform(4).tobytes()) == simulated.uniform(4).tobytes()


def test_generators_are_seeded_from_the_stream() -> None:
    source, again = RandomSource.from_seed(1), RandomSource.from_seed(1)
    first, second = source.generator(), source.generator()
    assert first.random() != second.random()
    assert again.generator().random() == RandomSource.from_seed(1).generator().random()
