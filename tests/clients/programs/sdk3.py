"""SageMaker Python SDK 3. Arguments: what to deploy, and the folder with the files of tests.clients.models."""

import json
import os
import sys
from pathlib import Path

from botocore.exceptions import ClientError
from sagemaker.core import image_uris
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import ContainerDefinition, DesiredWeightAndCapacity, ProductionVariant, Tag

FILES = Path(sys.argv[2])
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
ROLE = os.environ["SAGEMAKER_ROLE_ARN"]
IMAGE = image_uris.retrieve("sklearn", region="us-east-1", version="1.2-1", instance_type="ml.m5.large")

session = Session()
scheme = session.sagemaker_client.meta.endpoint_url.split(":")[0]
bucket = session.default_bucket()


def asked(endpoint):
    answer = endpoint.invoke(body=json.dumps(ROWS), content_type="application/json", accept="application/json")
    return json.loads(answer.body.read())


def core():
    """The resource classes: create, read, invoke, move weights, update, list, delete."""
    name = f"sdk3-{scheme}"
    data = session.upload_data(str(FILES / "whole.tar.gz"), bucket=bucket, key_prefix=name)
    model = Model.create(
        model_name=name,
        primary_container=ContainerDefinition(image=IMAGE, model_data_url=data, environment={"GREETING": "core"}),
        execution_role_arn=ROLE,
        tags=[Tag(key="team", value="a")],
    )
    assert model.primary_container.image == IMAGE

    def variant(label):
        return ProductionVariant(
            variant_name=label,
            model_name=name,
            initial_instance_count=1,
            instance_type="ml.m5.large",
            initial_variant_weight=1.0,
        )

    config = EndpointConfig.create(endpoint_config_name=name, production_variants=[variant("a")])
    wider = EndpointConfig.create(endpoint_config_name=f"{name}-2", production_variants=[variant("a"), variant("b")])
    endpoint = Endpoint.create(endpoint_name=name, endpoint_config_name=config)
    endpoint.wait_for_status("InService", poll=1, timeout=60)
    assert asked(endpoint) == {"by": "core", "labels": [0, 2]}

    endpoint.endpoint_config_name = wider.endpoint_config_name
    endpoint.update()
    endpoint.wait_for_status("InService", poll=1, timeout=60)
    endpoint.update_weights_and_capacities(
        desired_weights_and_capacities=[DesiredWeightAndCapacity(variant_name="a", desired_weight=0.25)]
    )
    endpoint.wait_for_status("InService", poll=1, timeout=60)
    endpoint.refresh()
    weights = {each.variant_name: each.current_weight for each in endpoint.production_variants}
    assert weights == {"a": 0.25, "b": 1.0}, weights
    answer = endpoint.invoke(body=json.dumps(ROWS), content_type="application/json", target_variant="b")
    assert answer.invoked_production_variant == "b"

    assert name in [each.endpoint_name for each in Endpoint.get_all(name_contains="sdk3")]
    assert name in [each.model_name for each in Model.get_all(name_contains="sdk3")]
    endpoint.delete()
    endpoint.wait_for_delete(poll=1, timeout=60)
    config.delete()
    wider.delete()
    model.delete()
    try:
        Model.get(model_name=name)
    except ClientError as error:
        code = error.response["Error"]["Code"]
    assert code == "ValidationException"


def builder():
    """ModelBuilder with a model's archive and the code beside it."""
    from sagemaker.core.training.configs import SourceCode
    from sagemaker.serve import ModelBuilder

    name = f"sdk3-built-{scheme}"
    data = session.upload_data(str(FILES / "bare.tar.gz"), bucket=bucket, key_prefix=name)
    built = ModelBuilder(
        image_uri=IMAGE,
        s3_model_data_url=data,
        source_code=SourceCode(source_dir=str(FILES / "code"), entry_script="inference.py"),
        role_arn=ROLE,
        instance_type="ml.m5.large",
        env_vars={"GREETING": "builder"},
        sagemaker_session=session,
    )
    model = built.build(model_name=name)
    endpoint = built.deploy(endpoint_name=name, initial_instance_count=1, instance_type="ml.m5.large", wait=False)
    endpoint.wait_for_status("InService", poll=1, timeout=60)
    assert asked(endpoint) == {"by": "builder", "labels": [0, 2]}
    endpoint.delete()
    endpoint.wait_for_delete(poll=1, timeout=60)
    EndpointConfig.get(endpoint_config_name=name).delete()
    model.delete()


def processing():
    """A script whose end the SDK waits for, with its log."""
    from sagemaker.core.processing import ScriptProcessor
    from sagemaker.core.shapes import ProcessingInput, ProcessingOutput, ProcessingS3Input, ProcessingS3Output

    key = f"sdk3-processed-{scheme}"
    given = session.upload_string_as_file_body("1,2,3", bucket, f"{key}/in/rows.csv")
    script = Path("sums.py")
    script.write_text(
        "rows = open('/opt/ml/processing/in/rows.csv').read()\n"
        "print('summing', rows, flush=True)\n"
        "open('/opt/ml/processing/out/sum.txt', 'w').write(str(sum(map(int, rows.split(',')))))\n"
    )
    processor = ScriptProcessor(ROLE, IMAGE, ["python3"], 1, "ml.m5.large", sagemaker_session=session)
    source = ProcessingS3Input(
        s3_uri=given, local_path="/opt/ml/processing/in", s3_data_type="S3Prefix", s3_input_mode="File"
    )
    target = ProcessingS3Output(
        s3_uri=f"s3://{bucket}/{key}/out", local_path="/opt/ml/processing/out", s3_upload_mode="EndOfJob"
    )
    processor.run(
        code=str(script),
        inputs=[ProcessingInput(input_name="in", s3_input=source)],
        outputs=[ProcessingOutput(output_name="out", s3_output=target)],
        wait=True,
        logs=True,
    )
    assert session.read_s3_file(bucket, f"{key}/out/sum.txt") == "6"


def trainer():
    """ModelTrainer brings its own shell scripts, which start the script with its SM_ variables."""
    from sagemaker.core.training.configs import Compute, InputData, SourceCode
    from sagemaker.train import ModelTrainer

    key = f"sdk3-trained-{scheme}"
    given = session.upload_string_as_file_body("1,2;", bucket, f"{key}/in/rows.csv")
    folder = Path("source")
    folder.mkdir()
    (folder / "train.py").write_text(
        "import argparse, os, pathlib\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--depth', type=int)\n"
        "depth = parser.parse_known_args()[0].depth\n"
        "rows = pathlib.Path('/opt/ml/input/data/train/rows.csv').read_text()\n"
        "pathlib.Path('/opt/ml/model/model.txt').write_text(rows * depth)\n"
    )
    model_trainer = ModelTrainer(
        training_image=IMAGE,
        source_code=SourceCode(source_dir=str(folder), entry_script="train.py"),
        compute=Compute(instance_type="ml.m5.large", instance_count=1),
        hyperparameters={"depth": 2},
        base_job_name="trainer",
        role=ROLE,
        sagemaker_session=session,
    )
    model_trainer.train(input_data_config=[InputData(channel_name="train", data_source=given)], wait=True, logs=True)
    listed = session.sagemaker_client.list_training_jobs(NameContains="trainer", StatusEquals="Completed")
    assert len(listed["TrainingJobSummaries"]) == 1, listed


SCENARIOS = {each.__name__: each for each in (core, builder, processing, trainer)}
SCENARIOS[sys.argv[1]]()
