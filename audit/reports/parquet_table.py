"""The verdicts as Parquet: typed columns, written in row groups as they are read.

Bytes are the same for the same verdicts under the same version of pyarrow, which signs its files
with its version.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from audit.reports.columns import COLUMNS, ColumnType
from audit.reports.lines_codec import to_row
from audit.reports.records import Lines, Report, VerdictLine

#: Small enough that a group of long rows stays within some tens of MB.
ROWS_PER_GROUP = 8_192

_TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.TEXT: pa.string(),
    ColumnType.TIME: pa.timestamp("us", tz="UTC"),
    ColumnType.WORDS: pa.list_(pa.string()),
    ColumnType.JSON: pa.string(),
}


def schema() -> pa.Schema:
    """Return the columns, each with its meaning and unit as metadata."""
    fields = []
    for column in COLUMNS:
        metadata = {"meaning": column.meaning} | ({"unit": column.unit} if column.unit else {})
        fields.append(
            pa.field(
                column.name, _TYPES[column.type], nullable=column.is_nullable, metadata=metadata
            )
        )
    return pa.schema(fields)


def render_parquet(report: Report, lines: Lines, out: BinaryIO) -> None:
    """Write one row per verdict."""
    del report
    table = schema()
    # A pool of its own would keep what it once had: the default one gives memory back.
    with pq.ParquetWriter(out, table, compression="zstd", write_page_index=False) as writer:
        for group in _groups(lines()):
            writer.write_batch(_batch(group, table))


def _groups(lines: Iterator[VerdictLine]) -> Iterator[list[VerdictLine]]:
    while group := list(islice(lines, ROWS_PER_GROUP)):
        yield group


def _batch(group: list[VerdictLine], table: pa.Schema) -> pa.RecordBatch:
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
