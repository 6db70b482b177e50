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
        (f"{ACCOUNT_EAST}/sagemaker-xgboost:1.7-1", None),
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
