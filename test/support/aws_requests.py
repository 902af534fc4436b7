"""Reads a request as the service would, by the input shape of its operation, and names what that shape does not know."""
import json
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree

from botocore.validate import ParamValidator


def operation_of(service, request):
    """The one whose address, and whose required parts of it, the request has."""
    if service.metadata["protocol"] == "ec2":
        return service.operation_model(dict(form_of(request))["Action"])
    if service.metadata["protocol"] == "json":
        return service.operation_model(request["headers"]["x-amz-target"].rsplit(".", 1)[1])
    fitting = [(how_exact(operation), operation) for operation in map(service.operation_model, service.operation_names) if fits(operation, request)]
    return max(fitting, key=lambda pair: pair[0])[1]


def faults_of(operation, request):
    faults = []
    readers = {"ec2": read_form, "json": read_json, "rest-xml": read_rest}
    values = readers[operation.service_model.metadata["protocol"]](operation, request, faults)
    if operation.input_shape is not None:
        report = ParamValidator().validate(values, operation.input_shape)
        if report.has_errors():
            faults.append(report.generate_report())
    return faults


# EC2: a form; `Filter.1.Value.2=x` is the second value of the first filter.

def form_of(request):
    return urllib.parse.parse_qsl(request["query"] + "&" + request["body"].decode(), keep_blank_values=True, strict_parsing=False)


def read_form(operation, request, faults):
    tree = {}
    for name, text in form_of(request):
        node = tree
        for part in name.split("."):
            node = node.setdefault(part, {})
        node[""] = text
    tree.pop("Action", None)
    version = tree.pop("Version", {}).get("")
    if version != operation.service_model.api_version:
        faults.append(f"Version: {version} is not {operation.service_model.api_version}")
    return read_form_node(operation.input_shape, tree, "", faults)


def read_form_node(shape, node, where, faults):
    if shape.type_name == "structure":
        names = {form_name(name, member): name for name, member in shape.members.items()}
        for part in node:
            if part not in names:
                faults.append(f"{where}{part}: the operation has no such parameter")
        return {names[part]: read_form_node(shape.members[names[part]], below, f"{where}{part}.", faults) for part, below in node.items() if part in names}
    if shape.type_name == "list":
        if list(node) != [str(number + 1) for number in range(len(node))]:
            faults.append(f"{where}: items are numbered {list(node)}")
        return [read_form_node(shape.member, below, f"{where}{part}.", faults) for part, below in node.items()]
    if list(node) != [""]:
        faults.append(f"{where}: is a {shape.type_name}, and has parts {list(node)}")
    return read_text(shape, node.get("", ""), where, faults)


def form_name(name, member):
    """As botocore's serializer of this protocol writes it."""
    if "queryName" in member.serialization:
        return member.serialization["queryName"]
    name = member.serialization.get("name", name)
    return name[0].upper() + name[1:]


# ECR: JSON.

def read_json(operation, request, faults):
    values = json.loads(request["body"] or b"{}")
    check_enums(operation.input_shape, values, "", faults)
    return values


# S3: parts of the address, headers, and a body that is XML or bytes.

def template_of(operation):
    path, _, query = operation.http["requestUri"].partition("?")
    pattern = re.escape(path).replace(r"/\{Key\+\}", "/(?P<Key>.+)").replace(r"\{Bucket\}", "(?P<Bucket>[^/]+)")
    return re.compile(pattern + "/?$" if "Key" not in pattern else pattern + "$"), dict(urllib.parse.parse_qsl(query, keep_blank_values=True))


def members_in(operation, location):
    shape = operation.input_shape
    if shape is None:
        return {}
    return {member.serialization.get("name", name): name for name, member in shape.members.items() if member.serialization.get("location") == location}


def fits(operation, request):
    pattern, literals = template_of(operation)
    query = dict(urllib.parse.parse_qsl(request["query"], keep_blank_values=True))
    if request["method"] != operation.http["method"] or not pattern.match(request["path"]):
        return False
    if any(query.get(name) != value for name, value in literals.items()):
        return False
    required = operation.input_shape.required_members if operation.input_shape is not None else []
    return all(sent in query for sent, name in members_in(operation, "querystring").items() if name in required) and all(
        sent.lower() in request["headers"] for sent, name in members_in(operation, "header").items() if name in required
    )


def how_exact(operation):
    shape = operation.input_shape
    return len(template_of(operation)[1]) + (len(shape.required_members) if shape is not None else 0)


# What the signature, the SDK and HTTP add to any request of S3's.
ANY_HEADER = re.compile(
    r"(accept.*|amz-sdk-.*|authorization|connection|content-length|content-type|content-encoding|date|expect|host|user-agent|x-amz-user-agent|x-amz-date"
    r"|x-amz-content-sha256|x-amz-decoded-content-length|x-amz-security-token|x-amz-trailer|transfer-encoding)$"
)


def read_rest(operation, request, faults):
    shape = operation.input_shape
    if shape is None:
        return {}
    pattern, literals = template_of(operation)
    values = {name: urllib.parse.unquote(text) for name, text in pattern.match(request["path"]).groupdict().items()}
    in_query, in_headers = members_in(operation, "querystring"), members_in(operation, "header")
    for sent, text in urllib.parse.parse_qsl(request["query"], keep_blank_values=True):
        if sent in in_query:
            values[in_query[sent]] = read_text(shape.members[in_query[sent]], text, f"?{sent}", faults)
        elif sent not in literals and (sent, text) != ("x-id", operation.name):
            faults.append(f"?{sent}: the operation has no such parameter")
    in_headers = {sent.lower(): name for sent, name in in_headers.items()}
    for sent, text in request["headers"].items():
        if sent in in_headers:
            values[in_headers[sent]] = read_text(shape.members[in_headers[sent]], text, sent, faults)
        elif sent.startswith("x-amz-meta-"):
            values.setdefault("Metadata", {})[sent[len("x-amz-meta-"):]] = text
        elif not ANY_HEADER.match(sent):
            faults.append(f"{sent}: the operation has no such header")
    payload = shape.serialization.get("payload")
    if payload is not None and shape.members[payload].type_name == "structure":
        if request["body"]:
            values[payload] = read_xml_node(shape.members[payload], ElementTree.fromstring(request["body"]), payload, faults)
    elif payload is not None:
        values[payload] = request["body"]
    elif request["body"]:
        faults.append("the operation has no body")
    return values


def read_xml_node(shape, element, where, faults):
    if shape.type_name != "structure":
        return read_text(shape, element.text or "", where, faults)
    names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
    values = {}
    for child in element:
        tag = child.tag.rsplit("}", 1)[-1]
        if tag not in names:
            faults.append(f"{where}.{tag}: the operation has no such element")
            continue
        member = shape.members[names[tag]]
        if member.type_name == "list":
            values.setdefault(names[tag], []).append(read_xml_node(member.member, child, f"{where}.{tag}", faults))
        else:
            values[names[tag]] = read_xml_node(member, child, f"{where}.{tag}", faults)
    return values


# Values.

def read_text(shape, text, where, faults):
    if shape.type_name in ("integer", "long"):
        return int(text) if re.fullmatch(r"-?\d+", text) else text
    if shape.type_name == "boolean":
        return {"true": True, "false": False}.get(text, text)
    check_enums(shape, text, where, faults)
    return text


def check_enums(shape, value, where, faults):
    if shape.type_name == "structure":
        for name, below in value.items():
            if name in shape.members:
                check_enums(shape.members[name], below, f"{where}{name}.", faults)
    elif shape.type_name == "list":
        for below in value:
            check_enums(shape.member, below, where, faults)
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        faults.append(f"{where}: {value!r} is none of the values the operation takes")
