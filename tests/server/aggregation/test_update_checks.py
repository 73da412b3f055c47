import io
import struct

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st

from server.aggregation.update_checks import UpdateRefusedError, check_arrays, clip_norm, l2_norm
from shared.flower.reply_codes import RefusalCode
from shared.privacy.noise import GRID
from shared.protocol.messages import release_record

SHAPES = {"x.lora_A.weight": (2, 3), "x.lora_B.weight": (4, 2)}


def good() -> dict[str, np.ndarray]:
    return {
        name: GRID * np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
        for name, shape in SHAPES.items()
    }


def code_of(record: ArrayRecord) -> RefusalCode:
    with pytest.raises(UpdateRefusedError) as caught:
        check_arrays(record, shapes=SHAPES)
    return caught.value.code


def test_a_good_update_comes_back_unchanged() -> None:
    arrays = check_arrays(release_record(good()), shapes=SHAPES)
    assert list(arrays) == sorted(SHAPES)
    for name, array in good().items():
        assert arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays[name], array / GRID)


def test_fortran_order_is_read_right() -> None:
    update = good()
    record = release_record(update)
    record["x.lora_B.weight"] = Array(np.asfortranarray(update["x.lora_B.weight"]))
    arrays = check_arrays(record, shapes=SHAPES)
    np.testing.assert_array_equal(arrays["x.lora_B.weight"] * GRID, update["x.lora_B.weight"])


@pytest.mark.parametrize("names", [["x.lora_A.weight"], [*SHAPES, "y.lora_A.weight"], []])
def test_other_keys_are_refused(names: list[str]) -> None:
    update = {name: good().get(name, np.zeros((2, 3), np.int64)) for name in names}
    assert code_of(release_record(update)) is RefusalCode.KEYS


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((4, 2), np.float32), RefusalCode.DTYPE),
        (np.full((4, 2), np.nan, np.float64), RefusalCode.DTYPE),
        (np.zeros((4, 2), np.int32), RefusalCode.DTYPE),
        (np.zeros((2, 4), np.int64), RefusalCode.SHAPE),
        (np.zeros((8,), np.int64), RefusalCode.SHAPE),
        (np.full((4, 2), -(2**40), np.int64), RefusalCode.MAGNITUDE),
        (np.full((4, 2), -(2**63), np.int64), RefusalCode.MAGNITUDE),
    ],
)
def test_each_bad_array_has_its_code(array: np.ndarray, code: RefusalCode) -> None:
    record = release_record(good())
    record["x.lora_B.weight"] = Array(array)
    assert code_of(record) is code


def crafted(data: bytes, *, dtype: str = "int64") -> ArrayRecord:
    record = release_record(good())
    record["x.lora_B.weight"] = Array(dtype=dtype, shape=(4, 2), stype="numpy.ndarray", data=data)
    return record


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def test_a_header_that_promises_terabytes_is_refused_before_allocation() -> None:
    bomb = npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }")
    assert code_of(crafted(bomb.ljust(200))) is RefusalCode.SHAPE


def test_bytes_of_another_dtype_than_declared_are_refused() -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, 2), np.int32))
    assert code_of(crafted(stream.getvalue())) is RefusalCode.SHAPE


@pytest.mark.parametrize("data", [b"x" * 100, b"\x93NUMPY\x01\x00\xff\xff" + b" " * 100])
def test_bytes_that_are_no_array_are_refused(data: bytes) -> None:
    assert code_of(crafted(data)) is RefusalCode.MALFORMED


def test_more_or_fewer_bytes_than_the_shape_are_refused() -> None:
    assert code_of(crafted(b"x" * 10_000)) is RefusalCode.SIZE
    assert code_of(crafted(b"x" * 64)) is RefusalCode.SIZE
    short = npy("{'descr': '<i8', 'fortran_order': False, 'shape': (4, 2), }", b"\0" * 63)
    assert code_of(crafted(short)) is RefusalCode.SIZE


def test_pickled_objects_are_never_loaded() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([[object()] * 2] * 4), allow_pickle=True)
    assert code_of(crafted(stream.getvalue(), dtype="object")) is RefusalCode.DTYPE
    assert code_of(crafted(stream.getvalue())) is RefusalCode.SHAPE


def test_norm_and_clipping_by_hand() -> None:
    update = {"a": np.array([[3.0]], np.float32), "b": np.array([[4.0]], np.float32)}
    assert l2_norm(update) == 5.0
    clipped = clip_norm(update, max_norm=1.0)
    np.testing.assert_allclose([clipped["a"][0, 0], clipped["b"][0, 0]], [0.6, 0.8], rtol=1e-6)
    assert clipped["a"].dtype == np.float32
    assert clip_norm(update, max_norm=5.0) is update
    assert clip_norm(update, max_norm=None) is update


@given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_a_clipped_update_is_never_above_the_bound(values: list[float], bound: float) -> None:
    clipped = clip_norm({"a": np.array(values, np.float32)}, max_norm=bound)
    assert l2_norm(clipped) <= bound * (1 + 1e-5)
