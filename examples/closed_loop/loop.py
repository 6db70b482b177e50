"""A model goes wrong, is found out, trained again, tried on a tenth of the traffic and promoted: by itself, in minutes.

    kedge up --detach
    eval "$(kedge env)"
    python examples/closed_loop/loop.py

Images of digits are sorted into bins. First the scanner goes dim, then somebody exchanges two bins. Nothing but boto3
is used. Leaves quality.svg, drift.html and result.json in the folder that --out names.
"""

import argparse
import io
import json
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import numpy as np
from drawing import drawn
from sklearn.datasets import load_digits

HERE = Path(__file__).parent
NAME = "digits"
ROWS = 300
"""Of each look: a window of an hour has as many, or more."""
SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
ANALYZER = "156813124566.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-analyzer"
CLUSTER = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
BELOW = "/opt/ml/processing"

account = boto3.client("sts").get_caller_identity()["Account"]
s3, sagemaker, cloudwatch = boto3.client("s3"), boto3.client("sagemaker"), boto3.client("cloudwatch")
runtime = boto3.client("sagemaker-runtime")
bucket = f"sagemaker-{sagemaker.meta.region_name}-{account}"
role = f"arn:aws:iam::{account}:role/kedge-execution-role"

images, digits = load_digits(return_X_y=True)
images = images.astype(int)
random = np.random.default_rng(7)
order = random.permutation(len(images))
TRAIN, STREAM = order[:900], order[900:]


def uri(key):
    return f"s3://{bucket}/{NAME}/{key}"


def put(key, body):
    s3.put_object(Bucket=bucket, Key=f"{NAME}/{key}", Body=body)


def get(address):
    place, _, key = address.removeprefix("s3://").partition("/")
    return s3.get_object(Bucket=place, Key=key)["Body"].read()


def waited(what, look, within_s=180):
    end_s = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > end_s:
            raise SystemExit(f"{what} did not come within {within_s} s")
        time.sleep(0.3)
    return found


def train_first():
    """A training job: the one that is done again later, with new data."""
    rows = np.column_stack([digits[TRAIN], images[TRAIN]])
    text = "\n".join(",".join(map(str, row)) for row in rows)
    put("train/train.csv", text)
    put("baseline/rows.csv", "\n".join([",".join(["bin", *(f"pixel{n}" for n in range(64))]), text]))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(HERE / "train.py", "train.py")
    put("source.tar.gz", packed.getvalue())
    source = {"S3DataType": "S3Prefix", "S3Uri": uri("train/"), "S3DataDistributionType": "FullyReplicated"}
    sagemaker.create_training_job(
        TrainingJobName=f"{NAME}-first",
        AlgorithmSpecification={
            "TrainingImage": SKLEARN,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "accuracy", "Regex": "accuracy=([0-9.]+)"}],
        },
        HyperParameters={"sagemaker_program": "train.py", "sagemaker_submit_directory": uri("source.tar.gz")},
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": uri("trained")},
        ResourceConfig=CLUSTER,
        StoppingCondition={"MaxRuntimeInSeconds": 600},
        RoleArn=role,
    )

    def over():
        found = sagemaker.describe_training_job(TrainingJobName=f"{NAME}-first")
        return found if found["TrainingJobStatus"] not in ("InProgress", "Stopping") else None

    return waited("the first model", over)["ModelArtifacts"]["S3ModelArtifacts"]


def serve(model_data):
    sagemaker.create_model(
        ModelName=NAME, ExecutionRoleArn=role, PrimaryContainer={"Image": SKLEARN, "ModelDataUrl": model_data}
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName=NAME,
        ProductionVariants=[
            {"VariantName": "only", "ModelName": NAME, "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}
        ],
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": uri("captured"),
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        },
    )
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME, WaiterConfig={"Delay": 1})


def definition(kind, job, application, constraints):
    output = {"S3Uri": uri("reports"), "LocalPath": f"{BELOW}/output"}
    return {
        "JobDefinitionName": f"{NAME}-{kind.lower()}",
        f"{kind}AppSpecification": {"ImageUri": ANALYZER, **application},
        f"{kind}JobInput": {
            "EndpointInput": {"EndpointName": NAME, "LocalPath": f"{BELOW}/input", **job.pop("at", {})},
            **job,
        },
        f"{kind}JobOutputConfig": {"MonitoringOutputs": [{"S3Output": output}]},
        f"{kind}BaselineConfig": constraints,
        "JobResources": {"ClusterConfig": CLUSTER},
        "RoleArn": role,
    }


def watch():
    """A data quality monitor on what is asked, a model quality monitor on what is answered; the second one retrains."""
    rows = {
        "S3Uri": uri("baseline/rows.csv"),
        "LocalPath": f"{BELOW}/rows",
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
    }
    result = {"S3Uri": uri("baseline/made"), "LocalPath": f"{BELOW}/output", "S3UploadMode": "EndOfJob"}
    sagemaker.create_processing_job(
        ProcessingJobName=f"{NAME}-baseline",
        AppSpecification={"ImageUri": ANALYZER},
        Environment={
            "dataset_source": f"{BELOW}/rows",
            "dataset_format": json.dumps({"csv": {"header": True}}),
            "output_path": f"{BELOW}/output",
            "publish_cloudwatch_metrics": "Disabled",
        },
        ProcessingInputs=[{"InputName": "rows", "S3Input": rows}],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "result", "S3Output": result}]},
        ProcessingResources={"ClusterConfig": CLUSTER},
        RoleArn=role,
    )
    lowest = {"accuracy": {"threshold": 0.9, "comparison_operator": "LessThanThreshold"}}
    put("baseline/quality.json", json.dumps({"version": 0.0, "multiclass_classification_constraints": lowest}))
    sagemaker.create_data_quality_job_definition(
        **definition("DataQuality", {}, {}, {"BaseliningJobName": f"{NAME}-baseline"})
    )
    sagemaker.create_model_quality_job_definition(
        **definition(
            "ModelQuality",
            {"GroundTruthS3Input": {"S3Uri": uri("labels")}, "at": {"InferenceAttribute": "0"}},
            {"ProblemType": "MulticlassClassification", "Environment": {"kedge_late_labels": "PT0S"}},
            {"ConstraintsResource": {"S3Uri": uri("baseline/quality.json")}},
        )
    )
    alarm("errors", "AWS/SageMaker", "InvocationModelErrors", {"EndpointName": NAME, "VariantName": "only"}, "Sum", 0)
    where = {"Endpoint": NAME, "MonitoringSchedule": f"{NAME}-quality"}
    alarm("accuracy", "aws/sagemaker/Endpoints/model-metrics", "accuracy", where, "Minimum", 0.9)


def alarm(name, namespace, metric, dimensions, statistic, threshold):
    low = name == "accuracy"
    cloudwatch.put_metric_alarm(
        AlarmName=f"{NAME}-{name}",
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        Statistic=statistic,
        Period=60 if low else 10,
        EvaluationPeriods=3 if low else 1,
        DatapointsToAlarm=1,
        Threshold=threshold,
        ComparisonOperator="LessThanThreshold" if low else "GreaterThanThreshold",
        TreatMissingData="missing" if low else "notBreaching",
    )


RETRAIN = {
    "kedge:retrain": f"{NAME}-first",
    "kedge:retrain-group": NAME,
    "kedge:retrain-at-least": "accuracy=0.9",
    "kedge:retrain-canary": "10",
    "kedge:retrain-bake": "5",
    "kedge:retrain-alarm": f"{NAME}-errors",
}
"""Tags of the model quality monitor. These are all that a closed loop needs."""


def look(kind, name, since_s):
    """The monitor looks at what came since; an hourly schedule would do so by itself."""
    config = {
        "MonitoringJobDefinitionName": f"{NAME}-{kind.lower()}",
        "MonitoringType": kind,
        "ScheduleConfig": {
            "ScheduleExpression": "NOW",
            "DataAnalysisStartTime": f"-PT{int(time.time() - since_s) + 1}S",
            "DataAnalysisEndTime": "-PT0S",
        },
    }
    if name in {
        each["MonitoringScheduleName"] for each in sagemaker.list_monitoring_schedules()["MonitoringScheduleSummaries"]
    }:
        sagemaker.update_monitoring_schedule(MonitoringScheduleName=name, MonitoringScheduleConfig=config)
        return
    tags = [{"Key": key, "Value": value} for key, value in RETRAIN.items()] if kind == "ModelQuality" else []
    sagemaker.create_monitoring_schedule(MonitoringScheduleName=name, MonitoringScheduleConfig=config, Tags=tags)


def seen(name, since_s):
    """Of the execution that was asked for since then, once it has ended: its status, and where its reports are."""

    def over():
        found = sagemaker.list_monitoring_executions(
            MonitoringScheduleName=name, SortBy="ScheduledTime", SortOrder="Descending", MaxResults=1
        )["MonitoringExecutionSummaries"]
        is_it = found and found[0]["ScheduledTime"].timestamp() >= since_s
        return found[0] if is_it and found[0]["MonitoringExecutionStatus"] not in ("Pending", "InProgress") else None

    found = waited(f"the end of an execution of {name}", over)
    if "ProcessingJobArn" not in found:
        raise SystemExit(f"{name}: {found.get('FailureReason')}")
    job = sagemaker.describe_processing_job(ProcessingJobName=found["ProcessingJobArn"].rpartition("/")[2])
    return found["MonitoringExecutionStatus"], job["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"]


class World:
    """Where digits come from, and into which bin they belong."""

    def __init__(self):
        self.exchanged, self.dim = False, False
        self.sent, self.points, self.marks = 0, [], []
        self.began_s = self.since_s = time.time()
        """since_s: when the newest window began."""

    def truth(self, digit):
        return {3: 8, 8: 3}.get(int(digit), int(digit)) if self.exchanged else int(digit)

    def ask(self, rows=ROWS):
        """Rows of traffic, and the labels that come later."""
        chosen = random.choice(STREAM, rows, replace=False)
        labels = [self.truth(each) for each in digits[chosen]]
        pixels = images[chosen] // 3 if self.dim else images[chosen]
        ids = [f"image-{self.sent + n}" for n in range(rows)]
        self.sent += rows

        def one(item):
            identity, row = item
            answer = runtime.invoke_endpoint(
                EndpointName=NAME,
                ContentType="text/csv",
                Accept="text/csv",
                InferenceId=identity,
                Body=",".join(map(str, row)),
            )
            return int(float(answer["Body"].read()))

        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(one, zip(ids, pixels, strict=True)))
        right = float(np.mean([a == b for a, b in zip(answers, labels, strict=True)]))
        self.points.append((time.time() - self.began_s, right, rows))
        lines = [
            json.dumps(
                {
                    "groundTruthData": {"data": str(label), "encoding": "CSV"},
                    "eventMetadata": {"eventId": each},
                    "eventVersion": "0",
                }
            )
            for each, label in zip(ids, labels, strict=True)
        ]
        put(f"labels/{time.strftime('%Y/%m/%d/%H', time.gmtime())}/{ids[0]}.jsonl", "\n".join(lines))
        return right

    def mark(self, what):
        self.marks.append((time.time() - self.began_s, what))
        print(f"{self.marks[-1][0]:6.1f} s  {what}", flush=True)


def looked(world):
    """One window: traffic, and what both monitors find of it."""
    since_s = world.since_s = time.time()
    world.ask()
    time.sleep(1.05 - time.time() % 1)  # windows end at whole seconds
    kinds = {"DataQuality": f"{NAME}-data", "ModelQuality": f"{NAME}-quality"}
    for kind, name in kinds.items():
        look(kind, name, since_s)
    (data, data_at), (quality, quality_at) = (seen(name, since_s) for name in kinds.values())
    statistics = json.loads(get(f"{quality_at}/statistics.json"))
    accuracy = statistics["multiclass_classification_metrics"]["accuracy"]["value"]
    world.mark(f"accuracy {accuracy:.3f}: model quality {quality}, data quality {data}")
    return accuracy, data_at


def retrainings():
    """Kedge's own call, signed as SageMaker's are; `kedge monitor status` shows the same."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.httpsession import URLLib3Session

    url = f"{sagemaker.meta.endpoint_url}/kedge/monitors/retraining?MonitoringScheduleName={NAME}-quality"
    request = AWSRequest("GET", url)
    SigV4Auth(boto3.Session().get_credentials(), "sagemaker", sagemaker.meta.region_name).add_auth(request)
    return json.loads(URLLib3Session().send(request.prepare()).content)["Retrainings"]


def followed(world):
    """The retraining that the newest window has asked for, to its end, while traffic goes on."""
    said = ""
    while True:
        asked = [each for each in retrainings() if each["WindowStartTime"] >= world.since_s - 1]
        if not asked:
            raise SystemExit("the alert did not ask for a retraining")
        status = asked[-1]["RetrainingStatus"]
        if status != said:
            said = status
            world.mark(f"{status} {asked[-1].get('Reason', '')}".strip())
        if status in ("NotBegun", "Promoted", "RolledBack", "Rejected", "Failed", "Stopped"):
            return asked[-1]
        world.ask(50)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("closed_loop"))
    parser.add_argument("--quick", action="store_true", help="Leave the dim scanner out.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    world = World()
    sagemaker.create_model_package_group(ModelPackageGroupName=NAME)
    serve(train_first())
    watch()
    world.mark("in service, watched")
    accuracies = [looked(world)[0]]
    unanswered = None
    if not options.quick:
        world.dim = True
        world.mark("the scanner goes dim")
        accuracy, report = looked(world)
        accuracies.append(accuracy)
        (options.out / "drift.html").write_bytes(get(f"{report}/kedge_drift.html"))
        unanswered = followed(world)
        world.dim = False
        world.mark("the scanner is mended")
        accuracies.append(looked(world)[0])
    world.exchanged = True
    world.mark("bins 3 and 8 are exchanged")
    accuracies.append(looked(world)[0])
    retrained = followed(world)
    accuracies.append(looked(world)[0])
    (options.out / "quality.svg").write_text(drawn(world.points, world.marks))
    result = {"accuracies": accuracies, "retrained": retrained, "not_retrained": unanswered, "marks": world.marks}
    (options.out / "result.json").write_text(json.dumps(result, indent=2))
    print(f"quality.svg and result.json are in {options.out}")


if __name__ == "__main__":
    main()
