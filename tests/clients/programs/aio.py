"""aiobotocore: S3 and an endpoint from one event loop. Argument: a model.tar.gz."""

import asyncio
import json
import os
import sys
from pathlib import Path

from aiobotocore.session import get_session

ARCHIVE = Path(sys.argv[1]).read_bytes()
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


async def main() -> None:
    session = get_session()
    async with (
        session.create_client("s3") as s3,
        session.create_client("sagemaker") as sagemaker,
        session.create_client("sagemaker-runtime") as runtime,
        session.create_client("sts") as sts,
    ):
        name = f"aio-{sagemaker.meta.endpoint_url.split(':')[0]}"
        assert (await sts.get_caller_identity())["Account"] == os.environ["SAGEMAKER_ROLE_ARN"].split(":")[4]
        await s3.create_bucket(Bucket=name)
        bodies = {f"n/{number}": os.urandom(number * 1000) for number in range(40)}
        await asyncio.gather(*(s3.put_object(Bucket=name, Key=key, Body=body) for key, body in bodies.items()))

        async def read(key):
            answer = await s3.get_object(Bucket=name, Key=key)
            async with answer["Body"] as stream:
                return await stream.read()

        assert dict(zip(bodies, await asyncio.gather(*map(read, bodies)), strict=True)) == bodies
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=name, PaginationConfig={"PageSize": 7})
        listed = [each["Key"] async for page in pages for each in page["Contents"]]
        assert listed == sorted(bodies)
        upload = await s3.create_multipart_upload(Bucket=name, Key="model.tar.gz")
        part = await s3.upload_part(
            Bucket=name, Key="model.tar.gz", UploadId=upload["UploadId"], PartNumber=1, Body=ARCHIVE
        )
        await s3.complete_multipart_upload(
            Bucket=name,
            Key="model.tar.gz",
            UploadId=upload["UploadId"],
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
        )

        await sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=os.environ["SAGEMAKER_ROLE_ARN"],
            PrimaryContainer={"Image": IMAGE, "ModelDataUrl": f"s3://{name}/model.tar.gz"},
        )
        await sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {"VariantName": "v", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}
            ],
        )
        await sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        quick = {"Delay": 1, "MaxAttempts": 60}
        await sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=quick)

        async def ask():
            answer = await runtime.invoke_endpoint(
                EndpointName=name, ContentType="application/json", Body=json.dumps(ROWS)
            )
            async with answer["Body"] as stream:
                return json.loads(await stream.read())

        assert await asyncio.gather(*(ask() for _ in range(20))) == [{"by": "nobody", "labels": [0, 2]}] * 20
        await sagemaker.delete_endpoint(EndpointName=name)
        await sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=quick)
        await sagemaker.delete_endpoint_config(EndpointConfigName=name)
        await sagemaker.delete_model(ModelName=name)
        await s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key} for key in [*bodies, "model.tar.gz"]]})
        await s3.delete_bucket(Bucket=name)


asyncio.run(main())
