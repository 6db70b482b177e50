// AWS SDK for JavaScript 3. Argument: a model.tar.gz. Run in the folder that has node_modules.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import https from "node:https";
import http from "node:http";

const require = createRequire(process.env.KEDGE_TEST_MODULES + "/");
const { S3Client, ...s3 } = require("@aws-sdk/client-s3");
const { SageMakerClient, ...sm } = require("@aws-sdk/client-sagemaker");
const { SageMakerRuntimeClient, ...rt } = require("@aws-sdk/client-sagemaker-runtime");
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3";
const role = process.env.SAGEMAKER_ROLE_ARN;
const scheme = process.env.AWS_ENDPOINT_URL.split(":")[0];
const name = `javascript-${scheme}`;
const objects = new S3Client({});
const sagemaker = new SageMakerClient({});
const runtime = new SageMakerRuntimeClient({});

const identity = await new STSClient({}).send(new GetCallerIdentityCommand({}));
assert.equal(identity.Account, role.split(":")[4]);

// S3: small and large objects, lists, a presigned URL, errors.
await objects.send(new s3.CreateBucketCommand({ Bucket: name }));
for (const number of [1, 2, 3]) {
  await objects.send(new s3.PutObjectCommand({ Bucket: name, Key: `n/${number} é+`, Body: `${number}` }));
}
const small = await objects.send(new s3.GetObjectCommand({ Bucket: name, Key: "n/2 é+" }));
assert.equal(await small.Body.transformToString(), "2");
const large = randomBytes(12_000_000);
await new Upload({ client: objects, params: { Bucket: name, Key: "large", Body: large }, partSize: 5 << 20 }).done();
const back = await objects.send(new s3.GetObjectCommand({ Bucket: name, Key: "large" }));
assert.ok(large.equals(Buffer.from(await back.Body.transformToByteArray())));
const keys = [];
for await (const page of s3.paginateListObjectsV2({ client: objects, pageSize: 2 }, { Bucket: name, Prefix: "n/" })) {
  keys.push(...page.Contents.map((each) => each.Key));
}
assert.deepEqual(keys, ["n/1 é+", "n/2 é+", "n/3 é+"]);
const url = await getSignedUrl(objects, new s3.GetObjectCommand({ Bucket: name, Key: "n/3 é+" }), { expiresIn: 60 });
const text = await new Promise((resolve, reject) => {
  const get = url.startsWith("https:") ? https.get : http.get;
  get(url, (answer) => {
    let all = "";
    answer.on("data", (part) => (all += part)).on("end", () => resolve(all));
  }).on("error", reject);
});
assert.equal(text, "3");
await assert.rejects(objects.send(new s3.GetObjectCommand({ Bucket: name, Key: "none" })), s3.NoSuchKey);
await assert.rejects(objects.send(new s3.HeadObjectCommand({ Bucket: name, Key: "none" })), s3.NotFound);

// A model in service.
const Body = await readFile(process.argv[2]);
await objects.send(new s3.PutObjectCommand({ Bucket: name, Key: "model.tar.gz", Body }));
await sagemaker.send(
  new sm.CreateModelCommand({
    ModelName: name,
    ExecutionRoleArn: role,
    PrimaryContainer: {
      Image: image,
      ModelDataUrl: `s3://${name}/model.tar.gz`,
      Environment: { GREETING: "javascript" },
    },
  }),
);
const variant = { VariantName: "v", ModelName: name, InitialInstanceCount: 1, InstanceType: "ml.t2.medium" };
await sagemaker.send(new sm.CreateEndpointConfigCommand({ EndpointConfigName: name, ProductionVariants: [variant] }));
await sagemaker.send(new sm.CreateEndpointCommand({ EndpointName: name, EndpointConfigName: name }));
const patience = { client: sagemaker, maxWaitTime: 60, minDelay: 1, maxDelay: 1 };
await sm.waitUntilEndpointInService(patience, { EndpointName: name });
const described = await sagemaker.send(new sm.DescribeEndpointCommand({ EndpointName: name }));
assert.ok(described.CreationTime instanceof Date);
const invoke = (body) =>
  runtime.send(new rt.InvokeEndpointCommand({ EndpointName: name, ContentType: "application/json", Body: body }));
const answer = await invoke("[[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]");
assert.deepEqual(JSON.parse(Buffer.from(answer.Body).toString()), { by: "javascript", labels: [0, 2] });
await assert.rejects(invoke("no json"), rt.ModelError);
await assert.rejects(sagemaker.send(new sm.DescribeEndpointCommand({ EndpointName: "none" })), /Could not find/);

await sagemaker.send(new sm.DeleteEndpointCommand({ EndpointName: name }));
await sm.waitUntilEndpointDeleted(patience, { EndpointName: name });
await sagemaker.send(new sm.DeleteEndpointConfigCommand({ EndpointConfigName: name }));
await sagemaker.send(new sm.DeleteModelCommand({ ModelName: name }));
const Objects = [...keys, "large", "model.tar.gz"].map((Key) => ({ Key }));
const deleted = await objects.send(new s3.DeleteObjectsCommand({ Bucket: name, Delete: { Objects } }));
assert.equal(deleted.Deleted.length, Objects.length);
await objects.send(new s3.DeleteBucketCommand({ Bucket: name }));
