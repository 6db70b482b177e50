Table = tuple[bytearray, int]
"""float64 numbers, row by row, and the number of rows; 0 of a list of numbers."""

def from_csv(body: bytes, /) -> Table | None:
    """Lines of equally many numbers; a blank field is NaN, an empty line no row. None for what is anything else."""

def from_json(body: bytes, /) -> Table | None:
    """A list of equally long lists of numbers, or of numbers, or {"instances": such a list}; null is NaN.

    None for what is anything else.
    """

def from_json_lines(body: bytes, /) -> Table | None:
    """Lines of equally long lists of numbers; null is NaN, a blank line no row. None for what is anything else."""
