"""How kernels reach the rows of the arrays: all they hand on is the address of the memory.

A row is a reference into the memory; its fields read as 64-bit numbers, whatever their width, and can be set. Nothing
is checked here: a kernel checks the numbers it was given before it uses them. (Kernels that handed on the arrays
themselves, with fields of four widths, took six times as long to compile.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no types
from numba import types
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import (
    intrinsic,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
)

from appliance.cache.kernel import inlined
from appliance.cache.layout import (
    BLOCK,
    BUCKET,
    CHANGE,
    CLAIM,
    ENDS,
    HEADER,
    LEVEL,
    LINK,
    SESSION,
    STATE,
    TIMER,
    Rows,
)


class Row(Protocol):
    def __getattr__(self, name: str) -> int: ...
    def __setattr__(self, name: str, value: float) -> None: ...


RowAt = Callable[[int, int], Row]
"""Of the memory's address and a row's number."""
_INT64 = ir.IntType(64)


class _Row(types.Type):  # type: ignore[misc]  # numba ships no types
    """The address of a record of one type."""

    def __init__(self, table: str, dtype: np.dtype[np.void]) -> None:
        super().__init__(name=f"Row({table})")
        self.dtype = dtype

    def field(self, name: str) -> tuple[np.dtype[Any], int]:
        return _place(self.dtype, name)


@register_model(_Row)
class _RowModel(models.PrimitiveModel):  # type: ignore[misc]  # numba ships no types
    def __init__(self, manager: Any, row: _Row) -> None:
        super().__init__(manager, row, _INT64)


@infer_getattr
class _RowFields(AttributeTemplate):  # type: ignore[misc]  # numba ships no types
    key = _Row

    def generic_resolve(self, row: _Row, name: str) -> Any:
        return types.float64 if row.field(name)[0].kind == "f" else types.int64


@lower_getattr_generic(_Row)  # type: ignore[untyped-decorator]  # numba ships no types
def _read_field(_context: Any, builder: Any, row: _Row, address: Any, name: str) -> Any:
    dtype, where = _field_address(builder, row, address, name)
    value = builder.load(where)
    if dtype.kind == "f" or dtype.itemsize == _INT64.width // 8:
        return value
    return builder.zext(value, _INT64) if dtype.kind == "u" else builder.sext(value, _INT64)


@lower_setattr_generic(_Row)  # type: ignore[untyped-decorator]  # numba ships no types
def _set_field(_context: Any, builder: Any, signature: Any, args: Any, name: str) -> None:
    dtype, where = _field_address(builder, signature.args[0], args[0], name)
    is_narrow = dtype.kind != "f" and dtype.itemsize < _INT64.width // 8
    builder.store(builder.trunc(args[1], where.type.pointee) if is_narrow else args[1], where)


def _place(dtype: np.dtype[np.void], name: str) -> tuple[np.dtype[Any], int]:
    """Type and offset of a field."""
    fields = dtype.fields
    if fields is None:
        raise TypeError(f"{dtype} has no fields")
    return fields[name][:2]


def _field_address(builder: Any, row: _Row, address: Any, name: str) -> tuple[np.dtype[Any], Any]:
    dtype, place = row.field(name)
    kind = ir.DoubleType() if dtype.kind == "f" else ir.IntType(8 * dtype.itemsize)
    return dtype, builder.inttoptr(builder.add(address, _INT64(place)), kind.as_pointer())


def _rows(table: str, dtype: np.dtype[np.void]) -> RowAt:
    """How kernels reach this table."""
    row = _Row(table, dtype)
    place = _place(HEADER, table)[1]

    @intrinsic  # type: ignore[untyped-decorator]  # numba ships no types
    def row_at(_context: Any, _memory: Any, _number: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            memory, number = args
            start = builder.load(builder.inttoptr(builder.add(memory, _INT64(place)), _INT64.as_pointer()))
            start.set_metadata("invariant.load", builder.module.add_metadata([]))
            return builder.add(builder.add(memory, start), builder.mul(number, _INT64(dtype.itemsize)))

        return row(types.int64, types.int64), generate

    return row_at  # type: ignore[no-any-return]


@inlined
def address_of(header: Rows) -> int:
    return header.ctypes.data


header_at = _rows("header", HEADER)
state_at = _rows("state", STATE)
bucket_at = _rows("buckets", BUCKET)
session_at = _rows("sessions", SESSION)
block_at = _rows("blocks", BLOCK)
list_at = _rows("lists", ENDS)
claim_at = _rows("claims", CLAIM)
claims_of_at = _rows("claims_of", ENDS)
claimed_at = _rows("claimed", LINK)
claimed_ends_at = _rows("claimed_ends", ENDS)
timer_at = _rows("timers", TIMER)
slot_at = _rows("wheel", ENDS)
level_at = _rows("levels", LEVEL)
change_at = _rows("changes", CHANGE)
