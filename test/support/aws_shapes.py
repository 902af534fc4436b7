"""Checks calls of AWS's APIs by botocore's models, which are AWS's own description of every operation.
Reads a JSON list of calls on stdin and writes a list of {"operation", "faults"}, one each: what the request has that the operation
does not take, and what the answer has that it does not give."""
import base64
import json
import sys

import aws_answers
import aws_requests
from botocore import loaders, model

loader = loaders.Loader()
models = {name: model.ServiceModel(loader.load_service_model(name, "service-2"), name) for name in ("ec2", "ecr", "s3")}


def compare(call):
    service = models[call["service"]]
    for side in ("request", "response"):
        call[side]["body"] = base64.b64decode(call[side]["body"])
        call[side]["headers"] = {name.lower(): value for name, value in call[side]["headers"].items()}
    operation = aws_requests.operation_of(service, call["request"])
    faults = [f"request: {fault}" for fault in aws_requests.faults_of(operation, call["request"])]
    faults += [f"answer: {fault}" for fault in aws_answers.faults_of(operation, call["request"], call["response"])]
    return {"operation": operation.name, "faults": faults}


json.dump([compare(call) for call in json.load(sys.stdin)], sys.stdout)
