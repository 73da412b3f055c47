"""The random source: its stream, its distributions, its keys."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shared.privacy.noise import RandomSource

KEY = hashlib.sha256(b"key").digest()


def test_stream_is_aes_of_the_counter() -> None:
    counters = b"".join(i.to_bytes(16, "big") for i in range(3))
    block = Cipher(algorithms.AES256(KEY), modes.ECB()).encryptor()  # the oracle
    words = np.frombuffer(block.update(counters), dtype="<u8")
    expected = [int(word) // 2**11 / 2**53 for word in words]
    assert RandomSource(KEY, repeatable=True).uniform(6).tolist() == expected


def test_normals_match_box_and_muller_by_hand() -> None:
    u = RandomSource(KEY, repeatable=True).uniform(4)
    radius = np.sqrt(-2 * np.log(u[:2] + 2.0**-53))
    expected = [*(radius * np.cos(2 * np.pi * u[2:])), *(radius * np.sin(2 * np.pi * u[2:]))]
    values = RandomSource(KEY, repeatable=True).gaussian((3,), 2.0, np.float64)
    np.testing.assert_allclose(values, 2 * np.array(expected[:3]), rtol=1e-13)


def test_normals_are_normal_and_independent() -> None:
    x = RandomSource.from_seed(7).gaussian((200_000,), 3.0, np.float64)
    assert stats.kstest(x / 3, "norm").pvalue > 0.01
    assert x.var() == pytest.approx(9, rel=4 * np.sqrt(2 / len(x)))
    for lag in (1, 2, len(x) // 2):  # Box and Muller's two halves share their radius
        assert abs(np.corrcoef(x[lag:], x[:-lag])[0, 1]) < 4 / np.sqrt(len(x) - lag)


def test_uniforms_are_uniform() -> None:
    x = RandomSource.from_seed(7).uniform(100_000)
    assert stats.kstest(x, "uniform").pvalue > 0.01
    assert x.min() >= 0
    assert x.max() < 1


def test_all_zero_bits_give_a_finite_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    source = RandomSource(KEY, repeatable=True)
    monkeypatch.setattr(source, "_bytes", lambda n: bytes(n))
    largest = source.gaussian((2,), 1.0, np.float64)
    np.testing.assert_allclose(largest, [np.sqrt(2 * 53 * np.log(2)), 0])


@given(st.lists(st.integers(0, 5), min_size=0, max_size=3), st.floats(1e-3, 1e3))
def test_shape_dtype_and_scale(shape: list[int], std: float) -> None:
    x = RandomSource.from_seed(1).gaussian(tuple(shape), std)
    assert (x.shape, x.dtype) == (tuple(shape), np.float32)
    unit = RandomSource.from_seed(1).gaussian(tuple(shape), 1.0, np.float64)
    np.testing.assert_allclose(x, std * unit, rtol=1e-6)


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
    draws = [source.gaussian((8,), 1.0).tobytes() for _ in range(100)]
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


@pytest.mark.parametrize("std", [-1.0, np.nan, np.inf])
def test_impossible_deviation_is_refused(std: float) -> None:
    with pytest.raises(ValueError, match="std="):
        RandomSource.from_os().gaussian((1,), std)


def test_no_deviation_gives_zeros() -> None:
    assert RandomSource.from_os().gaussian((2, 2), 0.0).tolist() == [[0, 0], [0, 0]]
