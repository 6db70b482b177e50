"""SageMaker Python SDK 2. Arguments: what to deploy, and the folder with the files of tests.clients.models."""

import json
import os
import sys
import tarfile
from pathlib import Path

import numpy
import sagemaker
from sagemaker.async_inference import AsyncInferenceConfig, WaiterConfig
from sagemaker.compute_resource_requirements.resource_requirements import ResourceRequirements
from sagemaker.deserializers import CSVDeserializer, JSONDeserializer, StringDeserializer
from sagemaker.enums import EndpointType
from sagemaker.exceptions import AsyncInferenceModelError, UnexpectedStatusException
from sagemaker.multidatamodel import MultiDataModel
from sagemaker.pipeline import PipelineModel
from sagemaker.processing import ProcessingInput, ProcessingOutput, Processor
from sagemaker.serializers import CSVSerializer, JSONSerializer
from sagemaker.sklearn import SKLearn, SKLearnModel
from sagemaker.sklearn.processing import SKLearnProcessor
from sagemaker.xgboost import XGBoostModel

FILES = Path(sys.argv[2])
SCRIPT = str(FILES / "code" / "inference.py")
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
ROLE = os.environ["SAGEMAKER_ROLE_ARN"]

session = sagemaker.Session()
scheme = session.sagemaker_client.meta.endpoint_url.split(":")[0]
bucket = session.default_bucket()


def uploaded(archive, name):
    return session.upload_data(str(FILES / archive), bucket=bucket, key_prefix=f"sdk2/{scheme}/{name}")


def started(predictor):
    session.wait_for_endpoint(predictor.endpoint_name, poll=1)
    predictor.serializer, predictor.deserializer = JSONSerializer(), JSONDeserializer()
    return predictor


def gone(predictor, *models):
    predictor.delete_endpoint()
    for model in models:
        model.delete_model()
    found = session.sagemaker_client.list_endpoints(NameContains=predictor.endpoint_name)["Endpoints"]
    assert {each["EndpointStatus"] for each in found} <= {"Deleting"}, found


def sklearn():
    """The defaults of the SDK all the way: it waits by itself, and rows travel as NumPy's own format."""
    model = SKLearnModel(
        model_data=uploaded("bare.tar.gz", "sklearn"),
        role=ROLE,
        entry_point=str(FILES / "code" / "loads.py"),
        framework_version="1.2-1",
        py_version="py3",
    )
    predictor = model.deploy(initial_instance_count=1, instance_type="ml.m5.large")
    labels = predictor.predict(numpy.array(ROWS))
    assert labels.tolist() == [0, 2], labels

    second = SKLearnModel(
        model_data=uploaded("bare.tar.gz", "sklearn"),
        role=ROLE,
        entry_point=SCRIPT,
        framework_version="1.2-1",
        env={"GREETING": "second"},
        sagemaker_session=session,
    )
    second.create(instance_type="ml.m5.large")
    predictor.update_endpoint(model_name=second.name, initial_instance_count=1, instance_type="ml.m5.large", wait=False)
    started(predictor)
    assert predictor.predict(ROWS) == {"by": "second", "labels": [0, 2]}
    predictor.serializer, predictor.deserializer = CSVSerializer(), CSVDeserializer()
    assert predictor.predict(ROWS) == [["0"], ["2"]]
    gone(predictor, model, second)


def plain():
    """Any image with any archive: what is in the archive decides."""
    model = sagemaker.Model(
        image_uri=sagemaker.image_uris.retrieve("sklearn", session.boto_region_name, version="1.2-1"),
        model_data=uploaded("whole.tar.gz", "plain"),
        role=ROLE,
        env={"GREETING": "plain"},
        predictor_cls=sagemaker.Predictor,
    )
    predictor = started(model.deploy(1, "ml.m5.large", wait=False))
    assert predictor.predict(ROWS) == {"by": "plain", "labels": [0, 2]}
    gone(predictor, model)


def folder():
    """A source_dir with modules beside the entry point."""
    model = SKLearnModel(
        model_data=uploaded("bare.tar.gz", "folder"),
        role=ROLE,
        source_dir=str(FILES / "project"),
        entry_point="serve.py",
        framework_version="1.2-1",
        dependencies=[str(FILES / "code" / "loads.py")],
    )
    predictor = started(model.deploy(1, "ml.m5.large", wait=False))
    assert predictor.predict(ROWS) == {"label": [0, 2]}
    gone(predictor, model)


def xgboost():
    """The framework's model class with a script. What the script loads is up to it."""
    model = XGBoostModel(
        model_data=uploaded("bare.tar.gz", "xgboost"),
        role=ROLE,
        entry_point=SCRIPT,
        framework_version="1.7-1",
        env={"GREETING": "xgb"},
    )
    predictor = started(model.deploy(1, "ml.m5.large", wait=False))
    assert predictor.predict(ROWS) == {"by": "xgb", "labels": [0, 2]}
    gone(predictor, model)


def multi():
    """Two archives behind one endpoint, one of them added while it serves."""
    container = SKLearnModel(
        model_data=uploaded("bare.tar.gz", "multi-code"),
        role=ROLE,
        entry_point=SCRIPT,
        framework_version="1.2-1",
        sagemaker_session=session,
    )
    prefix = f"s3://{bucket}/sdk2/{scheme}/many/"
    model = MultiDataModel(f"sdk2-many-{scheme}", prefix, model=container, sagemaker_session=session)
    model.add_model(str(FILES / "bare.tar.gz"), "a/first.tar.gz")
    predictor = started(model.deploy(1, "ml.m5.large", wait=False))
    assert predictor.predict(ROWS, target_model="a/first.tar.gz")["labels"] == [0, 2]
    model.add_model(str(FILES / "scaler.tar.gz"), "scaler.tar.gz")
    assert sorted(model.list_models()) == ["a/first.tar.gz", "scaler.tar.gz"]
    scaled = predictor.predict(ROWS, target_model="scaler.tar.gz")["labels"]
    assert abs(scaled[0][0] + 0.900681) < 1e-5, scaled
    try:
        predictor.predict(ROWS, target_model="none.tar.gz")
    except session.sagemaker_runtime_client.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
    assert code == "ValidationError"
    gone(predictor, model)


def pipeline():
    """A scaler, then a classifier of what it sends on."""
    parts = [
        SKLearnModel(
            model_data=uploaded(f"{name}.tar.gz", "pipeline"),
            role=ROLE,
            entry_point=SCRIPT,
            framework_version="1.2-1",
            env={"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"},
            sagemaker_session=session,
        )
        for name in ("scaler", "scaled")
    ]
    model = PipelineModel(parts, role=ROLE, name=f"sdk2-pipeline-{scheme}", sagemaker_session=session)
    predictor = model.deploy(1, "ml.m5.large", wait=False) or sagemaker.Predictor(model.endpoint_name, session)
    predictor = started(predictor)
    predictor.serializer, predictor.deserializer = CSVSerializer(), CSVDeserializer()
    assert predictor.predict(ROWS) == [["0"], ["2"]]
    description = session.sagemaker_client.describe_model(ModelName=model.name)
    assert len(description["Containers"]) == 2, json.dumps(description, default=str)
    gone(predictor, model)


def registry():
    """A version of a model package group: registered, approved, deployed by its ARN."""
    made = SKLearnModel(
        model_data=uploaded("bare.tar.gz", "registry"),
        role=ROLE,
        entry_point=SCRIPT,
        framework_version="1.2-1",
        env={"GREETING": "registered"},
        sagemaker_session=session,
    )
    group = f"sdk2-group-{scheme}"
    package = made.register(
        content_types=["text/csv"],
        response_types=["text/csv"],
        inference_instances=["ml.m5.large"],
        transform_instances=["ml.m5.large"],
        model_package_group_name=group,
        approval_status="PendingManualApproval",
        description="of the SDK",
    )
    client = session.sagemaker_client
    assert package.model_package_arn.endswith(f":model-package/{group}/1"), package.model_package_arn
    assert client.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupStatus"] == "Completed"
    package.update_approval_status("Approved")
    deployed = sagemaker.ModelPackage(
        role=ROLE,
        model_package_arn=package.model_package_arn,
        sagemaker_session=session,
        predictor_cls=sagemaker.Predictor,
    )
    predictor = started(deployed.deploy(1, "ml.m5.large", wait=False))
    assert predictor.predict(ROWS) == {"by": "registered", "labels": [0, 2]}
    gone(predictor, deployed)
    client.delete_model_package(ModelPackageName=package.model_package_arn)
    client.delete_model_package_group(ModelPackageGroupName=group)


def script_model(name):
    return SKLearnModel(
        model_data=uploaded("bare.tar.gz", name),
        role=ROLE,
        entry_point=SCRIPT,
        framework_version="1.2-1",
        env={"GREETING": name},
        sagemaker_session=session,
    )


def asynchronous():
    """The SDK puts the rows on S3, waits for the result there, and reads failures from where they are."""
    model = script_model("later")
    places = {name: f"s3://{bucket}/sdk2/{scheme}/{name}" for name in ("out", "failed")}
    config = AsyncInferenceConfig(places["out"], 2, failure_path=places["failed"])
    predictor = model.deploy(1, "ml.m5.large", async_inference_config=config, wait=False)
    session.wait_for_endpoint(predictor.endpoint_name, poll=1)
    predictor.serializer, predictor.deserializer = JSONSerializer(), JSONDeserializer()
    soon = WaiterConfig(max_attempts=60, delay=1)
    assert predictor.predict(ROWS, waiter_config=soon) == {"by": "later", "labels": [0, 2]}
    response = predictor.predict_async(ROWS)
    assert response.output_path.startswith(places["out"]), response.output_path
    assert response.get_result(soon) == {"by": "later", "labels": [0, 2]}
    predictor.deserializer = StringDeserializer()
    failed = ""
    try:
        predictor.predict_async("no rows").get_result(soon)
    except AsyncInferenceModelError as error:
        failed = str(error)
    assert "Received server error" in failed, failed
    predictor.delete_endpoint()
    model.delete_model()
    # The SDK leaves threads that look for a minute for what does not come: a failure of what succeeded.
    sys.stdout.flush()
    os._exit(0)


def components():
    """Two models on the instances of one endpoint: deploy with ResourceRequirements, update, delete.

    The first is waited for as the SDK does by itself, every 20 seconds; the rest by its own functions, every second.
    """
    endpoint = f"sdk2-{scheme}-shared"
    kinds = {"endpoint_type": EndpointType.INFERENCE_COMPONENT_BASED, "endpoint_name": endpoint}
    predictors = {}
    for name in ("first", "second"):
        needs = ResourceRequirements(requests={"num_cpus": 0.5, "memory": 512, "copies": 1}, limits={"memory": 1024})
        predictor = script_model(name).deploy(
            1,
            "ml.m5.large",
            resources=needs,
            inference_component_name=f"sdk2-{scheme}-{name}",
            wait=name == "first",
            **kinds,
        )
        session.wait_for_inference_component(f"sdk2-{scheme}-{name}", poll=1)
        predictor.serializer, predictor.deserializer = JSONSerializer(), JSONDeserializer()
        predictors[name] = predictor
    for name, predictor in predictors.items():
        assert predictor.predict(ROWS) == {"by": name, "labels": [0, 2]}

    def described(name):
        return session.sagemaker_client.describe_inference_component(InferenceComponentName=f"sdk2-{scheme}-{name}")

    found = described("first")
    assert (found["EndpointName"], found["RuntimeConfig"]["CurrentCopyCount"]) == (endpoint, 1), found
    assert found["Specification"]["ComputeResourceRequirements"]["NumberOfCpuCoresRequired"] == 0.5, found

    given = {**found["Specification"], "ModelName": described("second")["Specification"]["ModelName"]}
    session.update_inference_component(f"sdk2-{scheme}-first", given, {"CopyCount": 2}, wait=False)
    session.wait_for_inference_component(f"sdk2-{scheme}-first", poll=1)
    assert described("first")["RuntimeConfig"]["CurrentCopyCount"] == 2, described("first")
    assert predictors["first"].predict(ROWS) == {"by": "second", "labels": [0, 2]}
    assert {each["InferenceComponentName"] for each in session.list_inference_components()["InferenceComponents"]} >= {
        f"sdk2-{scheme}-first",
        f"sdk2-{scheme}-second",
    }
    for name, predictor in predictors.items():
        predictor.delete_predictor()
        session.wait_for_inference_component_deletion(f"sdk2-{scheme}-{name}", poll=1)
    session.delete_endpoint(endpoint)


def batch():
    """A transform job whose log the SDK follows to its end, joined with its input."""
    model = script_model("batch")
    rows = "\n".join(",".join(map(str, row)) for row in ROWS)
    given = session.upload_string_as_file_body(rows, bucket, f"sdk2/{scheme}/batch/rows.csv")
    transformer = model.transformer(
        1,
        "ml.m5.large",
        strategy="MultiRecord",
        assemble_with="Line",
        accept="text/csv",
        output_path=f"s3://{bucket}/sdk2/{scheme}/batched",
        max_payload=1,
    )
    transformer.transform(
        given, content_type="text/csv", split_type="Line", join_source="Input", output_filter="$[0,-1]", wait=False
    )
    session.logs_for_transform_job(transformer.latest_transform_job.name, wait=True, poll=1)
    found = session.read_s3_file(bucket, f"sdk2/{scheme}/batched/rows.csv.out")
    assert found == "5.1,0\n6.7,2\n", found
    transformer.delete_model()


def processing():
    """A script of the scikit-learn image; the SDK waits for its end and shows its log. Then one that fails."""
    place = f"s3://{bucket}/sdk2/{scheme}/processed"
    given = session.upload_string_as_file_body("1,2,3", bucket, f"sdk2/{scheme}/processing/in/rows.csv")
    script = Path("sums.py")
    script.write_text(
        "import sys\n"
        "rows = open('/opt/ml/processing/in/rows.csv').read()\n"
        "print('summing', rows, flush=True)\n"
        "open('/opt/ml/processing/out/sum.txt', 'w').write(str(int(sys.argv[2]) * sum(map(int, rows.split(',')))))\n"
    )
    processor = SKLearnProcessor("1.2-1", ROLE, 1, "ml.m5.large", sagemaker_session=session)
    processor.run(
        code=str(script),
        inputs=[ProcessingInput(source=given, destination="/opt/ml/processing/in", input_name="in")],
        outputs=[ProcessingOutput(source="/opt/ml/processing/out", destination=place, output_name="out")],
        arguments=["--times", "2"],
        wait=True,
        logs=True,
    )
    assert session.read_s3_file(bucket, f"sdk2/{scheme}/processed/sum.txt") == "12"
    described = processor.latest_job.describe()
    assert described["ProcessingJobStatus"] == "Completed", described
    image = sagemaker.image_uris.retrieve("sklearn", session.boto_region_name, version="1.2-1")
    plain = Processor(
        ROLE, image, 1, "ml.m5.large", ["python3", "-c", "raise SystemExit(7)"], sagemaker_session=session
    )
    failed = ""
    try:
        plain.run(wait=False, logs=False)
        session.logs_for_processing_job(plain.latest_job.job_name, wait=True, poll=1)
    except UnexpectedStatusException as error:
        failed = str(error)
    assert "exit code: 7" in failed, failed


def training():
    """An estimator in script mode, whose model is then in its archive, and whose metrics are in CloudWatch."""
    script = Path("train.py")
    script.write_text(
        "import argparse, os, pathlib\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--depth', type=int)\n"
        "depth = parser.parse_args().depth\n"
        "rows = pathlib.Path(os.environ['SM_CHANNEL_TRAIN'], 'rows.csv').read_text()\n"
        "print('loss=0.5', flush=True)\n"
        "pathlib.Path(os.environ['SM_MODEL_DIR'], 'model.txt').write_text(rows * depth)\n"
    )
    given = session.upload_string_as_file_body("1,2;", bucket, f"sdk2/{scheme}/training/in/rows.csv")
    estimator = SKLearn(
        entry_point=str(script),
        framework_version="1.2-1",
        role=ROLE,
        instance_type="ml.m5.large",
        instance_count=1,
        hyperparameters={"depth": 2},
        metric_definitions=[{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        output_path=f"s3://{bucket}/sdk2/{scheme}/trained",
        sagemaker_session=session,
    )
    estimator.fit({"train": given}, wait=False)
    session.logs_for_job(estimator.latest_training_job.name, wait=True, poll=1, log_type="All")
    described = session.describe_training_job(estimator.latest_training_job.name)
    assert described["FinalMetricDataList"][0]["Value"] == 0.5, described
    told = estimator.training_job_analytics.dataframe()
    assert told[["metric_name", "value"]].values.tolist() == [["loss", 0.5]], told
    session.download_data(".", bucket, estimator.model_data.removeprefix(f"s3://{bucket}/"))
    with tarfile.open("model.tar.gz") as archive:
        assert archive.extractfile("model.txt").read() == b"1,2;1,2;"


SCENARIOS = {
    each.__name__: each
    for each in (
        *(sklearn, plain, folder, xgboost, multi, pipeline, registry, asynchronous),
        *(components, batch, processing, training),
    )
}
SCENARIOS[sys.argv[1]]()
