"""s3fs, smart_open and pandas: files and tables on s3:// addresses."""

import os

if "AWS_CA_BUNDLE" in os.environ:
    # pandas reads Parquet through Arrow's own S3 client, which takes no AWS_CA_BUNDLE.
    os.environ["SSL_CERT_FILE"] = os.environ["AWS_CA_BUNDLE"]

import boto3
import pandas
import s3fs
import smart_open

name = f"frames-{os.environ['AWS_ENDPOINT_URL'].split(':')[0]}"
files = s3fs.S3FileSystem(skip_instance_cache=True)
files.mkdir(name)
frame = pandas.DataFrame({"a": range(100_000), "b": [f"row {number}" for number in range(100_000)]})

# pandas writes and reads through s3fs.
for ending in ("csv", "csv.gz", "parquet", "json"):
    where = f"s3://{name}/tables/frame.{ending}"
    if ending == "parquet":
        frame.to_parquet(where)
        back = pandas.read_parquet(where, columns=["b", "a"])[["a", "b"]]
    elif ending == "json":
        frame.to_json(where, orient="records", lines=True)
        back = pandas.read_json(where, orient="records", lines=True)
    else:
        frame.to_csv(where, index=False)
        back = pandas.read_csv(where)
    assert back.equals(frame), ending

# s3fs: listing, ranges, appending, copying, moving, globbing, removing.
with files.open(f"{name}/log.txt", "wb") as out:
    out.write(b"0123456789" * 600_000)
with files.open(f"{name}/log.txt", "ab") as out:
    out.write(b"end")
assert files.size(f"{name}/log.txt") == 6_000_003
assert files.cat_file(f"{name}/log.txt", start=-13) == b"0123456789end"
with files.open(f"{name}/log.txt", "rb") as stream:
    stream.seek(5_999_995)
    assert stream.read(6) == b"56789e"
files.copy(f"{name}/log.txt", f"{name}/copies/log.txt")
files.mv(f"{name}/copies/log.txt", f"{name}/copies/moved.txt")
files.invalidate_cache()
assert files.glob(f"{name}/**/*.txt") == [f"{name}/copies/moved.txt", f"{name}/log.txt"]
assert files.find(f"{name}/tables") == [f"{name}/tables/frame.{e}" for e in ("csv", "csv.gz", "json", "parquet")]
assert files.isdir(f"{name}/tables")
assert not files.exists(f"{name}/nothing")
files.touch(f"{name}/empty")
assert files.info(f"{name}/empty")["size"] == 0
assert files.checksum(f"{name}/log.txt")
try:
    files.cat_file(f"{name}/nothing")
except FileNotFoundError:
    pass
else:
    raise AssertionError("there is no such object")
files.pipe({f"{name}/many/{number}": str(number).encode() for number in range(50)})
assert files.cat(f"{name}/many/*")[f"{name}/many/7"] == b"7"

# smart_open: streams of any length by parts, text and compression.
client = {"client": boto3.client("s3")}
with smart_open.open(f"s3://{name}/lines.txt.gz", "w", transport_params=client) as out:
    out.writelines(f"line {number}\n" for number in range(200_000))
with smart_open.open(f"s3://{name}/lines.txt.gz", transport_params=client) as stream:
    assert sum(1 for _ in stream) == 200_000
parts = {**client, "min_part_size": 5 << 20}
with smart_open.open(f"s3://{name}/parts", "wb", transport_params=parts) as out:
    for _ in range(11):
        out.write(b"x" * (1 << 20))
with smart_open.open(f"s3://{name}/parts", "rb", transport_params=client) as stream:
    stream.seek((11 << 20) - 3)
    assert stream.read() == b"xxx"

files.rm(name, recursive=True)
files.invalidate_cache()
assert not files.exists(name)
