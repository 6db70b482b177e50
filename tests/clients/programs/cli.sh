# The AWS CLI, version 1 or 2, as a person types it. Arguments: the folder with the files of tests.clients.models.
set -eu
files=$1
scheme=${AWS_ENDPOINT_URL%%:*}
name=cli-$(aws --version 2>&1 | sed -E 's|aws-cli/([0-9]).*|\1|')-$scheme
image=683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3
same() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'" >&2; exit 1; }; }
fails() {
    if said=$("${@:2}" 2>&1); then echo "was to fail: ${*:2}" >&2; exit 1; fi
    case $said in *"$1"*) ;; *) echo "'$1' is not in: $said" >&2; exit 1 ;; esac
}

same "$(aws sts get-caller-identity --query Account --output text)" "$(echo "$SAGEMAKER_ROLE_ARN" | cut -d: -f5)"

# s3: buckets, single files, large ones by parts, streams, folders.
aws s3 mb "s3://$name" >&2
fails BucketAlreadyOwnedByYou aws s3api create-bucket --bucket "$name" --region eu-west-1 \
    --create-bucket-configuration LocationConstraint=eu-west-1
mkdir -p tree/a tree/b
echo one >tree/a/1.txt
echo two >"tree/b/2 é+.txt"
head -c 20000000 /dev/urandom >tree/large
aws s3 cp --quiet "$files/whole.tar.gz" "s3://$name/model.tar.gz"
echo streamed | aws s3 cp --quiet - "s3://$name/stream"
same "$(aws s3 cp "s3://$name/stream" -)" streamed
aws s3 sync --quiet tree "s3://$name/tree"
same "$(aws s3 sync --dryrun tree "s3://$name/tree")" ""
echo longer >tree/a/1.txt
rm "tree/b/2 é+.txt"
aws s3 sync --quiet --delete tree "s3://$name/tree"
rm -rf back
aws s3 sync --quiet "s3://$name/tree" back
diff -r tree/a back/a
cmp tree/large back/large
same "$(aws s3 ls --recursive "s3://$name/tree/" | awk '{print $3, $4}')" "7 tree/a/1.txt
20000000 tree/large"
same "$(aws s3 ls "s3://$name/" | awk '{print $NF}' | tr '\n' ' ')" "tree/ model.tar.gz stream "
aws s3 cp --quiet "s3://$name/tree/large" "s3://$name/copy"
aws s3 mv --quiet "s3://$name/copy" "s3://$name/moved"
same "$(aws s3api head-object --bucket "$name" --key moved --query ContentLength)" 20000000
same "$(curl -sS ${AWS_CA_BUNDLE:+--cacert "$AWS_CA_BUNDLE"} "$(aws s3 presign "s3://$name/stream" --expires-in 60)")" streamed
aws s3api put-object --bucket "$name" --key tagged --body tree/a/1.txt --content-type text/x-one --metadata k=v >&2
same "$(aws s3api head-object --bucket "$name" --key tagged --query '[ContentType,Metadata.k]' --output text)" "text/x-one	v"
same "$(aws s3api list-objects-v2 --bucket "$name" --page-size 2 --query 'length(Contents)')" 6
fails "Not Found" aws s3api head-object --bucket "$name" --key none
fails BucketNotEmpty aws s3 rb "s3://$name"

# cloudwatch: an alarm of 10 s on what is measured, a composite on it.
aws cloudwatch put-metric-data --namespace "$name" --metric-data \
    "MetricName=errors,Value=7,StorageResolution=1,Timestamp=$(date -u -d '-15 seconds' +%FT%TZ)"
aws cloudwatch put-metric-alarm --alarm-name "$name" --namespace "$name" --metric-name errors --statistic Sum --period 10 \
    --evaluation-periods 12 --datapoints-to-alarm 1 --threshold 1 --comparison-operator GreaterThanThreshold --alarm-actions arn:aws:sns:us-east-1:0:x
aws cloudwatch wait alarm-exists --alarm-names "$name"
aws cloudwatch put-composite-alarm --alarm-name "$name-all" --alarm-rule "ALARM($name) OR FALSE"
aws cloudwatch wait composite-alarm-exists --alarm-names "$name-all" --alarm-types CompositeAlarm
for second in $(seq 20); do
    state=$(aws cloudwatch describe-alarms --alarm-names "$name-all" --alarm-types CompositeAlarm \
        --query 'CompositeAlarms[0].StateValue' --output text)
    [ "$state" = ALARM ] && break
    sleep 0.5
done
same "$state" ALARM
same "$(aws cloudwatch describe-alarm-history --alarm-name "$name" --history-item-type StateUpdate \
    --query 'AlarmHistoryItems[0].HistorySummary' --output text)" "Alarm updated from INSUFFICIENT_DATA to ALARM"
fails "depending on it" aws cloudwatch delete-alarms --alarm-names "$name"
fails "Period is 45" aws cloudwatch put-metric-alarm --alarm-name bad --namespace x --metric-name y --statistic Sum \
    --period 45 --evaluation-periods 1 --threshold 1 --comparison-operator GreaterThanThreshold
aws cloudwatch delete-alarms --alarm-names "$name-all" "$name"

# iam
trust='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sagemaker.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
role=$(aws iam create-role --role-name "$name" --assume-role-policy-document "$trust" --query Role.Arn --output text)
aws iam attach-role-policy --role-name "$name" --policy-arn arn:aws:iam::aws:policy/AmazonSageMakerFullAccess

# sagemaker
aws sagemaker create-model --model-name "$name" --execution-role-arn "$role" \
    --primary-container "Image=$image,ModelDataUrl=s3://$name/model.tar.gz,Environment={GREETING=cli}" >&2
aws sagemaker create-endpoint-config --endpoint-config-name "$name" --production-variants \
    "VariantName=v,ModelName=$name,InitialInstanceCount=1,InstanceType=ml.t3.medium" >&2
aws sagemaker create-endpoint --endpoint-name "$name" --endpoint-config-name "$name" >&2
aws sagemaker wait endpoint-in-service --endpoint-name "$name"
same "$(aws sagemaker describe-endpoint --endpoint-name "$name" --query EndpointStatus --output text)" InService

# logs: an application's own, followed while they come, and those of the endpoint
now=$(date +%s)000
aws logs create-log-group --log-group-name "/app/$name" --tags team=ml
aws logs put-retention-policy --log-group-name "/app/$name" --retention-in-days 7
fails ResourceAlreadyExistsException aws logs create-log-group --log-group-name "/app/$name"
aws logs create-log-stream --log-group-name "/app/$name" --log-stream-name s
aws logs put-log-events --log-group-name "/app/$name" --log-stream-name s \
    --log-events "timestamp=$now,message=first ERROR" "timestamp=$now,message=second" >&2
same "$(aws logs filter-log-events --log-group-name "/app/$name" --filter-pattern ERROR --query 'events[].message' \
    --output text)" "first ERROR"
fails "not offered" aws logs filter-log-events --log-group-name "/app/$name" --filter-pattern '{ $.a = 1 }'
same "$(aws logs get-log-events --log-group-name "/app/$name" --log-stream-name s --query 'events[].message' \
    --output text)" "first ERROR	second"
case $name in cli-2-*)  # version 1 has no tail
    aws logs tail "/app/$name" --follow >followed &
    follows=$!
    aws logs put-log-events --log-group-name "/app/$name" --log-stream-name s \
        --log-events "timestamp=$(date +%s)000,message=third" >&2
    for _ in $(seq 60); do if grep -q third followed; then break; fi; sleep 0.5; done
    kill "$follows"
    wait "$follows" || true
    same "$(sed 's/^[^ ]* [^ ]* //' followed)" "first ERROR
second
third"
    ;;
esac
same "$(aws logs describe-log-groups --log-group-name-prefix "/app/$name" --query 'logGroups[].retentionInDays' \
    --output text)" 7
aws logs delete-log-group --log-group-name "/app/$name"
group=/aws/sagemaker/Endpoints/$name
for _ in $(seq 20); do if aws logs filter-log-events --log-group-name "$group" >written 2>&1; then break; fi; sleep 0.5; done
grep -q '"v/i-' written

echo '[[5.1,3.5,1.4,0.2],[6.7,3.0,5.2,2.3]]' >rows.json
aws sagemaker-runtime invoke-endpoint --endpoint-name "$name" --content-type application/json --body fileb://rows.json \
    answer.json >&2
same "$(cat answer.json)" '{"by": "cli", "labels": [0, 2]}'
echo 5.1,3.5,1.4,0.2 >rows.csv
same "$(aws sagemaker-runtime invoke-endpoint --endpoint-name "$name" --content-type text/csv --accept text/csv \
    --body fileb://rows.csv --query InvokedProductionVariant --output text answer.csv)" v
same "$(cat answer.csv)" 0
aws sagemaker add-tags --resource-arn "$(aws sagemaker describe-model --model-name "$name" --query ModelArn --output text)" \
    --tags Key=team,Value=a >&2
fails "Could not find" aws sagemaker describe-endpoint --endpoint-name none
same "$(aws sagemaker list-endpoints --name-contains "$name" --query 'Endpoints[].EndpointName' --output text)" "$name"

# application-autoscaling: bounds that move the capacity, a policy with its alarms, a schedule
place="--service-namespace sagemaker --resource-id endpoint/$name/variant/v --scalable-dimension sagemaker:variant:DesiredInstanceCount"
aws application-autoscaling register-scalable-target $place --min-capacity 2 --max-capacity 3 >&2
for _ in $(seq 60); do
    status=$(aws application-autoscaling describe-scaling-activities --service-namespace sagemaker \
        --resource-id "endpoint/$name/variant/v" --query 'ScalingActivities[0].StatusCode' --output text)
    [ "$status" = Successful ] && break
    sleep 0.5
done
same "$(aws sagemaker describe-endpoint --endpoint-name "$name" --query 'ProductionVariants[0].CurrentInstanceCount')" 2
aws application-autoscaling put-scaling-policy $place --policy-name busy --policy-type TargetTrackingScaling \
    --target-tracking-scaling-policy-configuration \
    'TargetValue=70,PredefinedMetricSpecification={PredefinedMetricType=SageMakerVariantInvocationsPerInstance}' >&2
same "$(aws cloudwatch describe-alarms --alarm-name-prefix "TargetTracking-endpoint/$name/variant/v-Alarm" \
    --query 'length(MetricAlarms)')" 2
aws application-autoscaling put-scheduled-action $place --scheduled-action-name night --schedule 'cron(0 22 * * ? *)' \
    --timezone Europe/Berlin --scalable-target-action MinCapacity=1
fails "Timezone is Moon" aws application-autoscaling put-scheduled-action $place --scheduled-action-name moon \
    --schedule 'rate(1 day)' --timezone Moon --scalable-target-action MinCapacity=1
same "$(aws application-autoscaling describe-scheduled-actions --service-namespace sagemaker \
    --query 'ScheduledActions[].ScheduledActionName' --output text)" night
aws application-autoscaling delete-scaling-policy $place --policy-name busy
same "$(aws cloudwatch describe-alarms --alarm-name-prefix "TargetTracking-endpoint/$name/" \
    --query 'length(MetricAlarms)')" 0
aws application-autoscaling deregister-scalable-target $place
fails ObjectNotFoundException aws application-autoscaling deregister-scalable-target $place

aws sagemaker delete-endpoint --endpoint-name "$name"
aws sagemaker wait endpoint-deleted --endpoint-name "$name"
aws sagemaker delete-endpoint-config --endpoint-config-name "$name"
aws sagemaker delete-model --model-name "$name"
aws iam detach-role-policy --role-name "$name" --policy-arn arn:aws:iam::aws:policy/AmazonSageMakerFullAccess
aws iam delete-role --role-name "$name"
aws s3 rm --quiet --recursive "s3://$name/tree"
aws s3 rb --force "s3://$name" >&2
