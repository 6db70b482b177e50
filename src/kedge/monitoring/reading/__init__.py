"""From files to pieces of rows: CSV, JSON, Parquet, captured records. Each piece is bounded, whatever a file's size."""
