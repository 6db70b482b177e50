from kedge.serving.compiled.program import Array

class Walker:
    def __init__(
        self,
        roots: Array,
        feature: Array,
        threshold: Array,
        left: Array,
        right: Array,
        missing_left: Array,
        values: Array,
        base: Array,
        width: int,
    ) -> None:
        """The arrays of a Forest, C-contiguous. width: columns of a row. Raises ValueError for a damaged forest."""

    def sums_into(self, rows: Array, sums: Array) -> None:
        """rows: shape (n, width); sums: shape (n, outputs); both float64 and C-contiguous.

        Raises ValueError for others. Other threads run meanwhile where it takes long.
        """
