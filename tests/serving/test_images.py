import pytest

from kedge.serving.runtimes import images

ACCOUNT_EAST = "683313688378.dkr.ecr.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("image", "runtime"),
    [
        (f"{ACCOUNT_EAST}/sagemaker-scikit-learn:1.2-1-cpu-py3", "sklearn"),
        (f"{ACCOUNT_EAST}/sagemaker-scikit-learn:0.23-1-cpu-py3", "sklearn"),
        (f"{ACCOUNT_EAST}/sagemaker-scikit-learn", "sklearn"),
        (f"{ACCOUNT_EAST}/sagemaker-scikit-learn@sha256:{'a' * 64}", "sklearn"),
        ("450853457545.dkr.ecr.cn-north-1.amazonaws.com.cn/sagemaker-scikit-learn:1.0-1-cpu-py3", "sklearn"),
        ("414596584902.dkr.ecr.us-gov-west-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3", "sklearn"),
        ("833128469047.dkr.ecr.us-iso-east-1.c2s.ic.gov/sagemaker-scikit-learn:1.2-1-cpu-py3", "sklearn"),
        ("281123927165.dkr.ecr.us-isob-east-1.sc2s.sgov.gov/sagemaker-scikit-learn:1.2-1-cpu-py3", "sklearn"),
        ("123456789012.dkr.ecr-fips.us-east-2.amazonaws.com/sagemaker-scikit-learn:mine", "sklearn"),
        ("kedge/sklearn", "sklearn"),
        ("kedge/sklearn:1.5", "sklearn"),
        ("kedge/script:latest", "script"),
        ("kedge/unknown", None),
        ("kedge/sklearn/more", None),
        ("kedge/sklearn:", None),
        (f"{ACCOUNT_EAST}/sagemaker-xgboost:1.7-1", "xgboost"),
        ("433757028032.dkr.ecr.us-west-2.amazonaws.com/xgboost:latest", "xgboost"),
        (
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.1.0-cpu-py310-ubuntu20.04-sagemaker",
            "torch",
        ),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference-graviton:2.1.0-cpu", "torch"),
        (f"{ACCOUNT_EAST}/huggingface-pytorch-inference:2.1.0-transformers4.37.0-cpu-py310", "huggingface"),
        ("000000000000.dkr.ecr.eu-west-1.amazonaws.com/mlflow-pyfunc:2.9.2", "mlflow"),
        *((f"kedge/{name}:9", name) for name in ("xgboost", "lightgbm", "catboost", "onnx", "torch", "mlflow")),
        (f"{ACCOUNT_EAST}/tensorflow-inference:2.14", None),
        (f"{ACCOUNT_EAST}/mine/sagemaker-scikit-learn:1", None),
        ("example.com/sagemaker-scikit-learn:1.2-1-cpu-py3", None),
        (f"{ACCOUNT_EAST}.evil.example/sagemaker-scikit-learn:1", None),
        ("", None),
    ],
)
def test_the_name_picks_the_runtime(image: str, runtime: str | None):
    assert images.choose(image) == runtime


def test_every_known_image_is_named_as_one_may_write_it():
    for image in images.known_images():
        written = image.replace("ACCOUNT", "1" * 12).replace("REGION", "eu-west-1").replace("TAG", "1")
        assert images.choose(written), image


@pytest.mark.parametrize(
    ("image", "version"),
    [
        (f"{ACCOUNT_EAST}/sagemaker-scikit-learn:1.2-1-cpu-py3", "1.2"),
        (f"{ACCOUNT_EAST}/sagemaker-xgboost:1.7-1", "1.7"),
        (f"{ACCOUNT_EAST}/sagemaker-xgboost:0.90-2-cpu-py3", "0.90"),
        (f"{ACCOUNT_EAST}/pytorch-inference:2.1.0-cpu-py310-ubuntu20.04-sagemaker", "2.1.0"),
        (f"{ACCOUNT_EAST}/xgboost:1", ""),
        (f"{ACCOUNT_EAST}/sagemaker-xgboost:latest", ""),
        (f"{ACCOUNT_EAST}/sagemaker-scikit-learn@sha256:{'a' * 64}", ""),
        ("kedge/sklearn:1.5", "1.5"),
        ("kedge/sklearn", ""),
        ("somebody/else:1.5", ""),
    ],
)
def test_the_tag_names_a_version(image: str, version: str):
    assert images.framework_version(image) == version


@pytest.mark.parametrize(
    ("image", "installed", "says"),
    [
        ("kedge/sklearn:1.2", "1.9.1", "sklearn:1.2 stands for scikit-learn 1.2; this is scikit-learn 1.9.1"),
        ("kedge/sklearn:1.2", "1.9.1", "put scikit-learn==1.2.* into the archive's code/requirements.txt"),
        ("kedge/sklearn:1.2", "1.20.0", "stands for scikit-learn 1.2"),
        ("kedge/torch:2.1.0", "2.1.2", "put torch==2.1.0 into"),
        ("kedge/torch:2.1.0", "2.1.0+cpu", None),
        ("kedge/sklearn:1.2", "1.2.2", None),
        ("kedge/sklearn:latest", "1.2.2", None),
        ("kedge/sklearn:1.2", "", None),
        ("kedge/script:1.2", "1.9", None),
    ],
)
def test_another_version_is_noted(image: str, installed: str, says: str | None):
    note = images.version_note(image, installed)
    assert (note == "") if says is None else (says in note)
