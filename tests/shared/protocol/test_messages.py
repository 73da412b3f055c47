"""What travels: item codes come back as they were, in few bytes, and only as whole numbers."""

from __future__ import annotations

import numpy as np
import pytest

from shared.protocol import messages


@pytest.mark.parametrize(("largest", "width"), [(255, 1), (256, 2), (65_535, 2), (65_536, 4)])
def test_codes_take_as_few_bytes_as_hold_them(largest: int, width: int) -> None:
    codes = np.array([3, largest, 0])
    record = messages.codes_record(codes)
    assert record[messages.CANDIDATES].numpy().dtype.itemsize == width
    back = messages.from_codes(record)
    assert back.dtype == np.int64
    assert back.tolist() == codes.tolist()


def test_no_codes_are_no_codes() -> None:
    record = messages.codes_record(np.zeros(0, np.int64), name=messages.HEAD)
    assert messages.from_codes(record, name=messages.HEAD).shape == (0,)


def test_codes_that_are_no_whole_numbers_are_refused() -> None:
    record = messages.to_record({messages.CANDIDATES: np.array([1.5], np.float32)})
    with pytest.raises(TypeError):
        messages.from_codes(record)
