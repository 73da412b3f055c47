"""Masks: a stream of AES, uniform modulo 2^48, six bytes a number."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from shared.secure_aggregation.masks import MODULUS, add_mask, centred, pack, residues, unpack

KEY = bytes(range(32))
within = st.integers(-MODULUS // 2, MODULUS // 2 - 1)


@given(arrays(np.int64, st.integers(0, 20), elements=within))
def test_six_bytes_hold_every_number_of_the_ring(numbers: np.ndarray) -> None:
    content = pack(residues(numbers))
    assert len(content) == 6 * len(numbers)
    assert content == b"".join(int(x % MODULUS).to_bytes(6, "little") for x in numbers)
    np.testing.assert_array_equal(centred(unpack(content)), numbers)


@pytest.mark.parametrize("n", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_a_mask_is_the_key_stream_and_comes_off_again(n: int) -> None:
    stream = Cipher(algorithms.AES256(KEY), modes.CTR(bytes(16))).encryptor().update(bytes(8 * n))
    before = np.arange(n, dtype=np.uint64)
    total = before.copy()
    add_mask(total, KEY)
    np.testing.assert_array_equal(total, before + np.frombuffer(stream, dtype="<u8"))
    add_mask(total, KEY, sign=-1)
    np.testing.assert_array_equal(total, before)


def test_masked_numbers_are_uniform_whatever_they_hide() -> None:
    for numbers in (np.zeros(200_000, np.int64), np.full(200_000, -(2**40))):
        total = residues(numbers)
        add_mask(total, KEY)
        masked = unpack(pack(total)).astype(np.float64)
        assert stats.kstest(masked / MODULUS, "uniform").pvalue > 0.01
        by_byte = np.frombuffer(pack(total), dtype=np.uint8).reshape(-1, 6)
        for column in by_byte.T:
            assert stats.chisquare(np.bincount(column, minlength=256)).pvalue > 0.001
        bits = np.unpackbits(by_byte, axis=1).mean(axis=0)
        assert np.abs(bits - 0.5).max() < 5 * 0.5 / np.sqrt(len(numbers))
