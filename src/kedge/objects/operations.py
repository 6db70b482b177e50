"""The S3 operations that there are. Each takes and returns botocore's member names.

What a request may carry stands beside the operation; a member that is not listed is refused with NotImplemented, so
nothing that a client asks for (encryption, a version, a tag) is ever dropped in silence.

For the wire: PutObject's and UploadPart's Body is read to its end before anything becomes visible, and may raise there.
GetObject's Body is an asynchronous iterator with `aclose`; a result with ContentRange is a 206.
"""

from __future__ import annotations

from kedge.objects import bucket_operations as buckets
from kedge.objects import object_operations as objects
from kedge.objects import upload_operations as uploads
from kedge.objects.access import ATTRIBUTE_MEMBERS, CHECKSUM_MEMBERS, Operation, accepting

_BODY = frozenset({"Body", "ContentLength", "ContentMD5", "ChecksumAlgorithm"}) | CHECKSUM_MEMBERS
_WRITE_CONDITIONS = frozenset({"IfMatch", "IfNoneMatch"})
_COPY = frozenset(
    {
        "CopySource",
        "CopySourceIfMatch",
        "CopySourceIfNoneMatch",
        "CopySourceIfModifiedSince",
        "CopySourceIfUnmodifiedSince",
        "ExpectedSourceBucketOwner",
    }
)
_LIST = frozenset({"Prefix", "Delimiter", "EncodingType"})
_LIST_OBJECTS = _LIST | {"MaxKeys", "OptionalObjectAttributes"}
_UPLOAD = frozenset({"Key", "UploadId"})

OPERATIONS: dict[str, Operation] = {
    "s3.ListBuckets": accepting({"MaxBuckets", "ContinuationToken", "Prefix", "BucketRegion"}, buckets.list_buckets),
    "s3.CreateBucket": accepting({"CreateBucketConfiguration"}, buckets.create_bucket),
    "s3.HeadBucket": accepting(set(), buckets.head_bucket),
    "s3.DeleteBucket": accepting(set(), buckets.delete_bucket),
    "s3.GetBucketLocation": accepting(set(), buckets.get_bucket_location),
    "s3.GetBucketVersioning": accepting(set(), buckets.get_bucket_versioning),
    "s3.GetBucketTagging": accepting(set(), buckets.get_bucket_tagging),
    "s3.GetBucketAcl": accepting(set(), buckets.get_bucket_acl),
    "s3.GetObjectAcl": accepting({"Key"}, buckets.get_object_acl),
    "s3.ListObjects": accepting(_LIST_OBJECTS | {"Marker"}, buckets.list_objects),
    "s3.ListObjectsV2": accepting(
        _LIST_OBJECTS | {"ContinuationToken", "FetchOwner", "StartAfter"}, buckets.list_objects_v2
    ),
    "s3.PutObject": accepting({"Key"} | _BODY | ATTRIBUTE_MEMBERS | _WRITE_CONDITIONS, objects.put_object),
    "s3.GetObject": accepting(objects.READ_MEMBERS, objects.get_object),
    "s3.HeadObject": accepting(objects.READ_MEMBERS, objects.head_object),
    "s3.DeleteObject": accepting({"Key", "IfMatch"}, objects.delete_object),
    "s3.DeleteObjects": accepting({"Delete", "ChecksumAlgorithm"}, objects.delete_objects),
    "s3.CopyObject": accepting(
        {"Key", "MetadataDirective"} | _COPY | ATTRIBUTE_MEMBERS | _WRITE_CONDITIONS, objects.copy_object
    ),
    "s3.CreateMultipartUpload": accepting(
        {"Key", "ChecksumAlgorithm", "ChecksumType"} | ATTRIBUTE_MEMBERS, uploads.create_multipart_upload
    ),
    "s3.UploadPart": accepting(_UPLOAD | _BODY | {"PartNumber"}, uploads.upload_part),
    "s3.UploadPartCopy": accepting(_UPLOAD | _COPY | {"PartNumber", "CopySourceRange"}, uploads.upload_part_copy),
    "s3.CompleteMultipartUpload": accepting(
        _UPLOAD | _WRITE_CONDITIONS | CHECKSUM_MEMBERS | {"MultipartUpload", "ChecksumType", "MpuObjectSize"},
        uploads.complete_multipart_upload,
    ),
    "s3.AbortMultipartUpload": accepting(_UPLOAD, uploads.abort_multipart_upload),
    "s3.ListMultipartUploads": accepting(
        _LIST | {"KeyMarker", "MaxUploads", "UploadIdMarker"}, uploads.list_multipart_uploads
    ),
    "s3.ListParts": accepting(_UPLOAD | {"MaxParts", "PartNumberMarker"}, uploads.list_parts),
}
