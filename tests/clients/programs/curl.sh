# curl signs by itself. Arguments: a model.tar.gz. Bodies and answers are what the services' own documents show.
set -eu
archive=$1
scheme=${AWS_ENDPOINT_URL%%:*}
name=curl-$scheme
image=683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3
same() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'" >&2; exit 1; }; }
signed() {
    service=$1
    shift
    curl --silent --show-error --max-time 30 ${AWS_CA_BUNDLE:+--cacert "$AWS_CA_BUNDLE"} \
        --aws-sigv4 "aws:amz:$AWS_REGION:$service" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" "$@"
}
sagemaker() {
    signed sagemaker --fail-with-body -H "X-Amz-Target: SageMaker.$1" -H "Content-Type: application/x-amz-json-1.1" \
        --data "$2" "$AWS_ENDPOINT_URL/"
}

# S3 wants the body's hash in a header; curl from version 8 on sends it by itself.
empty="x-amz-content-sha256: $(printf '' | sha256sum | cut -d' ' -f1)"

case $(signed sts --data "Action=GetCallerIdentity&Version=2011-06-15" "$AWS_ENDPOINT_URL/") in
*"<Account>$(echo "$SAGEMAKER_ROLE_ARN" | cut -d: -f5)</Account>"*) ;;
*) exit 1 ;;
esac
same "$(signed s3 -H "$empty" -X PUT "$AWS_ENDPOINT_URL/$name" -o /dev/null -w '%{http_code}')" 200
same "$(signed s3 -H "x-amz-content-sha256: $(sha256sum "$archive" | cut -d' ' -f1)" -T "$archive" \
    "$AWS_ENDPOINT_URL/$name/model.tar.gz" -o /dev/null -w '%{http_code}')" 200
signed s3 -H "$empty" "$AWS_ENDPOINT_URL/$name/model.tar.gz" -o back.tar.gz
cmp "$archive" back.tar.gz
same "$(curl --silent ${AWS_CA_BUNDLE:+--cacert "$AWS_CA_BUNDLE"} -o /dev/null -w '%{http_code}' "$AWS_ENDPOINT_URL/$name/model.tar.gz")" 403

sagemaker CreateModel "{\"ModelName\":\"$name\",\"ExecutionRoleArn\":\"$SAGEMAKER_ROLE_ARN\",
    \"PrimaryContainer\":{\"Image\":\"$image\",\"ModelDataUrl\":\"s3://$name/model.tar.gz\"}}" >&2
sagemaker CreateEndpointConfig "{\"EndpointConfigName\":\"$name\",\"ProductionVariants\":[{\"VariantName\":\"v\",
    \"ModelName\":\"$name\",\"InitialInstanceCount\":1,\"InstanceType\":\"ml.t3.medium\"}]}" >&2
sagemaker CreateEndpoint "{\"EndpointName\":\"$name\",\"EndpointConfigName\":\"$name\"}" >&2
tries=0
until sagemaker DescribeEndpoint "{\"EndpointName\":\"$name\"}" | grep -q '"EndpointStatus": *"InService"'; do
    tries=$((tries + 1))
    [ $tries -lt 100 ]
    sleep 0.2
done
same "$(signed sagemaker -H "Content-Type: text/csv" -H "Accept: text/csv" --data "5.1,3.5,1.4,0.2" \
    "$AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME/endpoints/$name/invocations")" 0
case $(signed sagemaker -H "X-Amz-Target: SageMaker.DescribeEndpoint" -H "Content-Type: application/x-amz-json-1.1" \
    --data '{"EndpointName":"none"}' "$AWS_ENDPOINT_URL/") in
*ValidationException*"Could not find endpoint"*) ;;
*) exit 1 ;;
esac
sagemaker DeleteEndpoint "{\"EndpointName\":\"$name\"}"
sagemaker DeleteEndpointConfig "{\"EndpointConfigName\":\"$name\"}"
sagemaker DeleteModel "{\"ModelName\":\"$name\"}"
signed s3 -H "$empty" -X DELETE "$AWS_ENDPOINT_URL/$name/model.tar.gz"
same "$(signed s3 -H "$empty" -X DELETE "$AWS_ENDPOINT_URL/$name" -o /dev/null -w '%{http_code}')" 204
