"""The verdicts as Parquet: typed columns, written in row groups as they are read.

Bytes are the same for the same verdicts under the same version of pyarrow, which signs its files
with its version. pyarrow is needed only here, so it is imported when a table is asked for.
"""

import importlib
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from types import ModuleType
from typing import Any, BinaryIO

from audit.errors import ConfigurationError
from audit.reports.columns import COLUMNS, ColumnType
from audit.reports.lines_codec import to_row
from audit.reports.records import Lines, Report, VerdictLine

#: A group is held in Arrow's form until it is written: some tens of MB of long rows.
ROWS_PER_GROUP = 4_096
#: Rows that are held as Python objects, which take several times the room.
_ROWS_PER_BATCH = 512


def load_arrow() -> ModuleType:
    """Return pyarrow. Raises: ConfigurationError saying what to install."""
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ConfigurationError(
            "Parquet needs one more library: pip install 'inference-audit[reports]'; or take csv"
        ) from error


def schema(pa: ModuleType) -> Any:
    """Return the columns as a pyarrow schema, each with its meaning and unit as metadata."""
    types = {
        ColumnType.INTEGER: pa.int64(),
        ColumnType.NUMBER: pa.float64(),
        ColumnType.TEXT: pa.string(),
        ColumnType.TIME: pa.timestamp("us", tz="UTC"),
        ColumnType.WORDS: pa.list_(pa.string()),
        ColumnType.JSON: pa.string(),
    }
    fields = []
    for column in COLUMNS:
        metadata = {"meaning": column.meaning} | ({"unit": column.unit} if column.unit else {})
        fields.append(
            pa.field(
                column.name, types[column.type], nullable=column.is_nullable, metadata=metadata
            )
        )
    return pa.schema(fields)


def render_parquet(report: Report, lines: Lines, out: BinaryIO) -> None:
    """Write one row per verdict. Raises: ConfigurationError where pyarrow is missing."""
    del report
    pa, pq = load_arrow(), importlib.import_module("pyarrow.parquet")
    table = schema(pa)
    with pq.ParquetWriter(out, table, compression="zstd", write_page_index=False) as writer:
        batches = _batches(pa, lines(), table)
        while group := list(islice(batches, ROWS_PER_GROUP // _ROWS_PER_BATCH)):
            writer.write_table(pa.Table.from_batches(group), row_group_size=ROWS_PER_GROUP)


def _batches(pa: ModuleType, lines: Iterator[VerdictLine], table: Any) -> Iterator[Any]:
    while held := list(islice(lines, _ROWS_PER_BATCH)):
        yield _batch(pa, held, table)


def _batch(pa: ModuleType, group: list[VerdictLine], table: Any) -> Any:
    arrays = []
    columns = zip(*map(to_row, group), strict=True)
    for column, cells, field in zip(COLUMNS, columns, table, strict=True):
        values: list[object] = list(cells)
        if column.type is ColumnType.TIME:
            values = [datetime.fromisoformat(str(cell)) for cell in cells]
        elif column.type is ColumnType.WORDS:
            values = [list(line.reasons) for line in group]
        arrays.append(pa.array(values, type=field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=table)
