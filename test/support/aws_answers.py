"""Reads an answer by the output shape of its operation with botocore's own parser, and names what that shape does not know or what
is written otherwise than the service writes it."""
import json
import re
import xml.etree.ElementTree as ElementTree

from botocore.parsers import ResponseParserError, create_parser

# EC2 and S3 know no fraction of a second, and write it all the same.
XML_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z")
HEADER_TIME = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT")
TEXTS = {
    "integer": re.compile(r"-?\d+"),
    "long": re.compile(r"-?\d+"),
    "boolean": re.compile(r"true|false"),
    "blob": re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*"),
    "timestamp": XML_TIME,
}


def faults_of(operation, request, response):
    try:
        parsed = parse(operation, response)
    except (ResponseParserError, ValueError) as error:
        return [f"the parser refuses it: {error}"]
    if response["status"] >= 300 and response["status"] != 304:
        return faults_of_error(operation, request, response, parsed)
    faults = []
    protocol = operation.service_model.metadata["protocol"]
    shape = operation.output_shape
    if protocol == "json":
        check_json(shape, json.loads(response["body"]), "", faults)
    elif protocol == "ec2":
        root = ElementTree.fromstring(response["body"])
        expect_name(root, f"{operation.name}Response", operation, faults)
        request_id = root.find(f"{{*}}requestId")
        if request_id is None or request_id.text != response["headers"].get("x-amzn-requestid"):
            faults.append("requestId is not that of the header")
        else:
            root.remove(request_id)
        remove_return(shape, root)
        check_fields(shape, root, parsed, root_name(root), faults)
    else:
        check_rest(operation, response, parsed, faults)
    return faults


def parse(operation, response):
    parser = create_parser(operation.service_model.metadata["protocol"])
    return parser.parse({"status_code": response["status"], "headers": response["headers"], "body": response["body"]}, operation.output_shape)


# XML, of EC2 and S3.

def remove_return(shape, root):
    """`return` is always true: the API reference has it, and the models leave it out of nearly all answers."""
    for element in root.findall("{*}return"):
        if element.text == "true" and "Return" not in (shape.members if shape is not None else {}):
            root.remove(element)


def root_name(element):
    return element.tag.rsplit("}", 1)[-1]


def expect_name(root, name, operation, faults):
    namespace = {"ec2": "http://ec2.amazonaws.com/doc/2016-11-15/", "rest-xml": "http://s3.amazonaws.com/doc/2006-03-01/"}
    expected = f"{{{namespace[operation.service_model.metadata['protocol']]}}}{name}"
    if root.tag != expected:
        faults.append(f"the document is {root.tag}, not {expected}")


def check_fields(shape, element, parsed, where, faults):
    """Each element is a member, and botocore's parser made something of it."""
    names = {member.serialization.get("name", name): name for name, member in (shape.members if shape is not None else {}).items()}
    seen = set()
    for child in element:
        tag = root_name(child)
        if tag not in names:
            faults.append(f"{where}.{tag}: the answer has no such element")
            continue
        name, member = names[tag], shape.members[names[tag]]
        flat = member.type_name == "list" and member.serialization.get("flattened")
        if tag in seen and not flat:
            faults.append(f"{where}.{tag}: comes twice")
        seen.add(tag)
        if not isinstance(parsed, dict) or name not in parsed:
            faults.append(f"{where}.{tag}: the parser made nothing of it")
            continue
        if flat:
            number = [other for other in element if other.tag == child.tag].index(child)
            check_element(member.member, child, parsed[name][number], f"{where}.{tag}", faults)
        else:
            check_element(member, child, parsed[name], f"{where}.{tag}", faults)


def check_element(shape, element, parsed, where, faults):
    if shape.type_name == "structure":
        check_fields(shape, element, parsed, where, faults)
    elif shape.type_name == "list":
        item = shape.member.serialization.get("name", "member")
        for child in element:
            if root_name(child) != item:
                faults.append(f"{where}.{root_name(child)}: an item is called {item}")
        if len(parsed) != len(element):
            faults.append(f"{where}: the parser found {len(parsed)} of {len(element)} items")
        for child, value in zip(element, parsed):
            check_element(shape.member, child, value, where, faults)
    elif len(element) > 0:
        faults.append(f"{where}: is a {shape.type_name}, and has elements")
    else:
        check_text(shape, element.text or "", where, faults)


def check_text(shape, text, where, faults):
    form = TEXTS.get(shape.type_name)
    if form is not None and not form.fullmatch(text):
        faults.append(f"{where}: {text!r} is not how the service writes a {shape.type_name}")
    if shape.type_name == "string" and shape.enum and text not in shape.enum:
        faults.append(f"{where}: {text!r} is none of {shape.enum}")


# S3: headers and a body.

ANY_HEADER = re.compile(r"(connection|content-length|content-type|date|keep-alive|server|transfer-encoding|x-amz-id-2|x-amz-request-id)$")


def check_rest(operation, response, parsed, faults):
    shape = operation.output_shape
    members = shape.members if shape is not None else {}
    in_headers = {member.serialization["name"].lower(): member for member in members.values() if member.serialization.get("location") == "header"}
    for sent, text in response["headers"].items():
        if sent in in_headers:
            check_header(in_headers[sent], text, sent, faults)
        elif not (sent.startswith("x-amz-meta-") and "Metadata" in members) and not ANY_HEADER.match(sent):
            faults.append(f"{sent}: the answer has no such header")
    for name in ("x-amz-request-id", "x-amz-id-2"):
        if name not in response["headers"]:
            faults.append(f"{name} is missing")
    payload = shape.serialization.get("payload") if shape is not None else None
    if payload is not None:
        return
    in_body = [name for name, member in members.items() if "location" not in member.serialization]
    if not response["body"]:
        if in_body and response["status"] != 304:
            faults.append("there is no body")
        return
    root = ElementTree.fromstring(response["body"])
    expect_name(root, DOCUMENTS.get(operation.name, f"{operation.name}Result"), operation, faults)
    check_fields(shape, root, parsed, root_name(root), faults)


# The model does not say what a document is called; S3's API reference does.
DOCUMENTS = {
    "ListBuckets": "ListAllMyBucketsResult",
    "ListObjectsV2": "ListBucketResult",
}


def check_header(shape, text, where, faults):
    form = HEADER_TIME if shape.type_name == "timestamp" else TEXTS.get(shape.type_name)
    if form is not None and not form.fullmatch(text):
        faults.append(f"{where}: {text!r} is not how the service writes a {shape.type_name}")
    if shape.type_name == "string" and shape.enum and text not in shape.enum:
        faults.append(f"{where}: {text!r} is none of {shape.enum}")


# ECR: JSON.

def check_json(shape, value, where, faults):
    kinds = {"structure": dict, "list": list, "string": str, "integer": int, "long": int, "boolean": bool, "timestamp": (int, float)}
    if not isinstance(value, kinds[shape.type_name]):
        faults.append(f"{where}: is no {shape.type_name}")
    elif shape.type_name == "structure":
        for name, below in value.items():
            if name in shape.members:
                check_json(shape.members[name], below, f"{where}.{name}", faults)
            else:
                faults.append(f"{where}.{name}: the answer has no such member")
    elif shape.type_name == "list":
        for below in value:
            check_json(shape.member, below, where, faults)
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        faults.append(f"{where}: {value!r} is none of {shape.enum}")


# Errors.

def faults_of_error(operation, request, response, parsed):
    faults = []
    protocol = operation.service_model.metadata["protocol"]
    if request["method"] == "HEAD":
        return ["the answer to HEAD has a body"] if response["body"] else []
    error = parsed.get("Error", {})
    for name in ("Code", "Message"):
        if not error.get(name):
            faults.append(f"the parser found no {name}")
    if protocol == "json":
        body = json.loads(response["body"])
        if set(body) - {"__type", "message", "Message"}:
            faults.append(f"the error has {sorted(body)}")
        return faults
    root = ElementTree.fromstring(response["body"])
    layout = [root.tag, *[child.tag for child in root], *[child.tag for child in root.findall("Errors/Error/*")]]
    if protocol == "ec2" and layout != ["Response", "Errors", "RequestID", "Code", "Message"]:
        faults.append(f"the error is {layout}")
    if protocol == "rest-xml" and (root.tag != "Error" or not {"Code", "Message", "RequestId", "HostId"} <= {child.tag for child in root}):
        faults.append(f"the error is {layout}")
    return faults
