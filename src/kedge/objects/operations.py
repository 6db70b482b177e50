"""The S3 operations that there are. Each takes and returns botocore's member names.

What a request may carry stands beside the operation; a member that is not listed is refused with NotImplemented, so
nothing that a client asks for (encryption, a lock, a grant) is ever dropped in silence.

For the wire: PutObject's and UploadPart's Body is read to its end before anything becomes visible, and may raise there.
GetObject's Body is an asynchronous iterator with `aclose`; a result with ContentRange is a 206.
"""

from __future__ import annotations

from kedge.objects import acl
from kedge.objects import bucket_operations as buckets
from kedge.objects import encryption_operations as defaults
from kedge.objects import list_operations as lists
from kedge.objects import object_operations as objects
from kedge.objects import read_operations as reads
from kedge.objects import setting_operations as settings
from kedge.objects import upload_operations as uploads
from kedge.objects.access import ATTRIBUTE_MEMBERS, CHECKSUM_MEMBERS, Operation, accepting
from kedge.objects.encryption import CUSTOMER_MEMBERS, SOURCE_MEMBERS, WRITE_MEMBERS

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
        *SOURCE_MEMBERS,
    }
)
_ENCRYPTION = WRITE_MEMBERS | CUSTOMER_MEMBERS
_DIRECTIVES = frozenset({"MetadataDirective", "TaggingDirective"})
_LIST = frozenset({"Prefix", "Delimiter", "EncodingType"})
_LIST_OBJECTS = _LIST | {"MaxKeys", "OptionalObjectAttributes"}
_UPLOAD = frozenset({"Key", "UploadId"})
_VERSION = frozenset({"Key", "VersionId"})
_CHECKED = frozenset({"ContentMD5", "ChecksumAlgorithm"})
"""Of a request whose body is a document; the wire has compared them."""
_ACL = frozenset({"ACL", "AccessControlPolicy", *acl.GRANTS}) | _CHECKED


def _none(code: str, message: str) -> Operation:
    return accepting({"Id"}, settings.absent(code, message))


def _put(member: str, operation: Operation, *more: str) -> Operation:
    return accepting({member, *_CHECKED, *more}, operation)


def _refused(what: str) -> Operation:
    return settings.refused(what)


OPERATIONS: dict[str, Operation] = {
    "s3.ListBuckets": accepting({"MaxBuckets", "ContinuationToken", "Prefix", "BucketRegion"}, buckets.list_buckets),
    "s3.CreateBucket": accepting({"CreateBucketConfiguration", "ACL", "ObjectOwnership"}, buckets.create_bucket),
    "s3.HeadBucket": accepting(set(), buckets.head_bucket),
    "s3.DeleteBucket": accepting(set(), buckets.delete_bucket),
    "s3.GetBucketLocation": accepting(set(), buckets.get_bucket_location),
    "s3.GetBucketVersioning": accepting(set(), buckets.get_bucket_versioning),
    "s3.PutBucketVersioning": _put("VersioningConfiguration", buckets.put_bucket_versioning),
    "s3.ListObjects": accepting(_LIST_OBJECTS | {"Marker"}, lists.list_objects),
    "s3.ListObjectsV2": accepting(
        _LIST_OBJECTS | {"ContinuationToken", "FetchOwner", "StartAfter"}, lists.list_objects_v2
    ),
    "s3.ListObjectVersions": accepting(_LIST_OBJECTS | {"KeyMarker", "VersionIdMarker"}, lists.list_object_versions),
    "s3.PutObject": accepting(
        {"Key"} | _BODY | ATTRIBUTE_MEMBERS | _WRITE_CONDITIONS | _ENCRYPTION, objects.put_object
    ),
    "s3.GetObject": accepting(reads.READ_MEMBERS, reads.get_object),
    "s3.HeadObject": accepting(reads.READ_MEMBERS, reads.head_object),
    "s3.GetObjectAttributes": accepting(
        _VERSION | CUSTOMER_MEMBERS | {"ObjectAttributes", "MaxParts", "PartNumberMarker"}, reads.get_object_attributes
    ),
    "s3.DeleteObject": accepting(_VERSION | {"IfMatch"}, objects.delete_object),
    "s3.DeleteObjects": accepting({"Delete", *_CHECKED}, objects.delete_objects),
    "s3.CopyObject": accepting(
        {"Key", "ChecksumAlgorithm"} | _DIRECTIVES | _COPY | ATTRIBUTE_MEMBERS | _WRITE_CONDITIONS | _ENCRYPTION,
        objects.copy_object,
    ),
    "s3.GetObjectTagging": accepting(_VERSION, settings.get_object_tagging),
    "s3.PutObjectTagging": accepting(_VERSION | _CHECKED | {"Tagging"}, settings.put_object_tagging),
    "s3.DeleteObjectTagging": accepting(_VERSION, settings.delete_object_tagging),
    "s3.GetObjectAcl": accepting(_VERSION, acl.get_object_acl),
    "s3.PutObjectAcl": accepting(_VERSION | _ACL, acl.put_object_acl),
    "s3.CreateMultipartUpload": accepting(
        {"Key", "ChecksumAlgorithm", "ChecksumType"} | ATTRIBUTE_MEMBERS | _ENCRYPTION, uploads.create_multipart_upload
    ),
    "s3.UploadPart": accepting(_UPLOAD | _BODY | CUSTOMER_MEMBERS | {"PartNumber"}, uploads.upload_part),
    "s3.UploadPartCopy": accepting(
        _UPLOAD | _COPY | CUSTOMER_MEMBERS | {"PartNumber", "CopySourceRange"}, uploads.upload_part_copy
    ),
    "s3.CompleteMultipartUpload": accepting(
        {"MultipartUpload", "ChecksumType", "MpuObjectSize"}
        | _UPLOAD
        | _WRITE_CONDITIONS
        | CHECKSUM_MEMBERS
        | CUSTOMER_MEMBERS,
        uploads.complete_multipart_upload,
    ),
    "s3.AbortMultipartUpload": accepting(_UPLOAD, uploads.abort_multipart_upload),
    "s3.ListMultipartUploads": accepting(
        _LIST | {"KeyMarker", "MaxUploads", "UploadIdMarker"}, uploads.list_multipart_uploads
    ),
    "s3.ListParts": accepting(_UPLOAD | CUSTOMER_MEMBERS | {"MaxParts", "PartNumberMarker"}, uploads.list_parts),
    "s3.GetBucketPolicy": accepting(set(), settings.get_bucket_policy),
    "s3.PutBucketPolicy": _put("Policy", settings.put_bucket_policy, "ConfirmRemoveSelfBucketAccess"),
    "s3.DeleteBucketPolicy": accepting(set(), settings.deleting("Policy")),
    "s3.GetBucketPolicyStatus": accepting(set(), settings.get_bucket_policy_status),
    "s3.GetPublicAccessBlock": accepting(set(), settings.get_public_access_block),
    "s3.PutPublicAccessBlock": _put("PublicAccessBlockConfiguration", settings.put_public_access_block),
    "s3.DeletePublicAccessBlock": accepting(set(), settings.delete_public_access_block),
    "s3.GetBucketOwnershipControls": accepting(set(), settings.get_bucket_ownership_controls),
    "s3.PutBucketOwnershipControls": _put("OwnershipControls", settings.put_bucket_ownership_controls),
    "s3.DeleteBucketOwnershipControls": accepting(set(), settings.delete_bucket_ownership_controls),
    "s3.GetBucketAcl": accepting(set(), acl.get_bucket_acl),
    "s3.PutBucketAcl": accepting(_ACL, acl.put_bucket_acl),
    "s3.GetBucketTagging": accepting(set(), settings.get_bucket_tagging),
    "s3.PutBucketTagging": _put("Tagging", settings.put_bucket_tagging),
    "s3.DeleteBucketTagging": accepting(set(), settings.deleting("Tags")),
    "s3.GetBucketCors": accepting(set(), settings.get_bucket_cors),
    "s3.PutBucketCors": _put("CORSConfiguration", settings.put_bucket_cors),
    "s3.DeleteBucketCors": accepting(set(), settings.deleting("Cors")),
    "s3.GetBucketLifecycleConfiguration": accepting(set(), settings.get_bucket_lifecycle_configuration),
    "s3.PutBucketLifecycleConfiguration": _put(
        "LifecycleConfiguration", settings.put_bucket_lifecycle_configuration, "TransitionDefaultMinimumObjectSize"
    ),
    "s3.DeleteBucketLifecycle": accepting(set(), settings.deleting("Lifecycle")),
    "s3.GetBucketNotificationConfiguration": accepting(set(), settings.get_bucket_notification_configuration),
    "s3.PutBucketNotificationConfiguration": _put(
        "NotificationConfiguration", settings.put_bucket_notification_configuration, "SkipDestinationValidation"
    ),
    "s3.GetBucketEncryption": accepting(set(), defaults.get_bucket_encryption),
    "s3.PutBucketEncryption": _put("ServerSideEncryptionConfiguration", defaults.put_bucket_encryption),
    "s3.DeleteBucketEncryption": accepting(set(), defaults.delete_bucket_encryption),
    # What no bucket here can have: to read it is answered as for a bucket without it, to put it is refused.
    "s3.GetBucketWebsite": _none(
        "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"
    ),
    "s3.PutBucketWebsite": _refused("Website hosting"),
    "s3.DeleteBucketWebsite": accepting(set(), settings.always(dict)),
    "s3.GetBucketReplication": _none(
        "ReplicationConfigurationNotFoundError", "The replication configuration was not found"
    ),
    "s3.PutBucketReplication": _refused("Replication"),
    "s3.DeleteBucketReplication": accepting(set(), settings.always(dict)),
    "s3.GetObjectLockConfiguration": _none(
        "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket"
    ),
    "s3.PutObjectLockConfiguration": _refused("Object lock"),
    "s3.GetObjectRetention": accepting(_VERSION, settings.no_object_lock),
    "s3.PutObjectRetention": _refused("Object lock"),
    "s3.GetObjectLegalHold": accepting(_VERSION, settings.no_object_lock),
    "s3.PutObjectLegalHold": _refused("Object lock"),
    "s3.GetBucketAccelerateConfiguration": accepting(set(), settings.always(dict)),
    "s3.PutBucketAccelerateConfiguration": _refused("Transfer acceleration"),
    "s3.GetBucketRequestPayment": accepting(set(), settings.always(lambda: {"Payer": "BucketOwner"})),
    "s3.PutBucketRequestPayment": _put("RequestPaymentConfiguration", settings.put_bucket_request_payment),
    "s3.GetBucketLogging": accepting(set(), settings.always(dict)),
    "s3.PutBucketLogging": _put("BucketLoggingStatus", settings.put_bucket_logging),
    "s3.GetBucketAnalyticsConfiguration": _none("NoSuchConfiguration", "The specified configuration does not exist."),
    "s3.GetBucketInventoryConfiguration": _none("NoSuchConfiguration", "The specified configuration does not exist."),
    "s3.GetBucketMetricsConfiguration": _none("NoSuchConfiguration", "The specified configuration does not exist."),
    "s3.GetBucketIntelligentTieringConfiguration": _none(
        "NoSuchConfiguration", "The specified configuration does not exist."
    ),
    **{
        f"s3.ListBucket{what}Configurations": accepting(
            {"ContinuationToken"}, settings.always(lambda: {"IsTruncated": False})
        )
        for what in ("Analytics", "Inventory", "Metrics", "IntelligentTiering")
    },
    "s3.PutBucketAnalyticsConfiguration": _refused("Storage class analysis"),
    "s3.PutBucketInventoryConfiguration": _refused("Inventory"),
    "s3.PutBucketMetricsConfiguration": _refused("Request metrics"),
    "s3.PutBucketIntelligentTieringConfiguration": _refused("Intelligent tiering"),
    "s3.RestoreObject": _refused("Restoring archived objects"),
    "s3.SelectObjectContent": _refused("S3 Select"),
    "s3.GetObjectTorrent": _refused("BitTorrent"),
}
