"""A client that knows nothing but docs/openapi.json, in the terms of another language: it makes a method of each operation,
checks what goes out and comes in by the document's schemas with Python's own regular expressions, and calls some.
Usage: document_client.py DOCUMENT URL TOKEN; prints what it did as JSON, or raises."""
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

document_path, url, token = sys.argv[1:]
with open(document_path, encoding="utf-8") as file:
    document = json.load(file)

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": (int, float), "null": type(None)}
patterns = 0


def check(schema, value, where):
    """Raises ValueError where a value is not of a schema."""
    global patterns
    if "$ref" in schema:
        schema = {**document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in schema.items() if k != "$ref"}}
    for one_of in ("anyOf", "oneOf"):
        if one_of in schema and not any(fits(choice, value) for choice in schema[one_of]):
            raise ValueError(f"{where}: fits none of {one_of}")
    for part in schema.get("allOf", []):
        check(part, value, where)
    kinds = schema.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(isinstance(value, TYPES[kind]) for kind in kinds):
        raise ValueError(f"{where}: is no {kinds}")
    if "enum" in schema and value not in schema["enum"]:
        raise ValueError(f"{where}: is none of {schema['enum']}")
    if "pattern" in schema and isinstance(value, str):
        patterns += 1
        if not re.search(schema["pattern"], value):
            raise ValueError(f"{where}: {value!r} does not fit {schema['pattern']}")
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                raise ValueError(f"{where}: {name} is missing")
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            if known is False:
                raise ValueError(f"{where}: {name} is not known")
            if isinstance(known, dict):
                check(known, inner, f"{where}/{name}")
    if isinstance(value, list) and "items" in schema:
        for number, inner in enumerate(value):
            check(schema["items"], inner, f"{where}/{number}")


def fits(schema, value):
    try:
        check(schema, value, "")
        return True
    except ValueError:
        return False


def method_of(verb, path, operation):
    def call(body=None, **parameters):
        target = re.sub(r"\{(\w+)\}", lambda match: urllib.parse.quote(str(parameters.pop(match[1])), safe=""), path)
        known = {parameter["name"] for parameter in operation.get("parameters", [])}
        assert set(parameters) <= known, f"unknown parameters of {operation['operationId']}"
        query = urllib.parse.urlencode(parameters)
        headers = {"Accept": "application/json"}
        if operation["security"]:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            media, content = next(iter(operation["requestBody"]["content"].items()))
            check(content["schema"], body, operation["operationId"])
            headers["Content-Type"], data = media, json.dumps(body).encode()
        request = urllib.request.Request(url + target + (f"?{query}" if query else ""), data, headers, method=verb.upper())
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                status, kind, text = response.status, response.headers.get_content_type(), response.read()
        except urllib.error.HTTPError as error:
            status, kind, text = error.code, error.headers.get_content_type(), error.read()
        answer = operation["responses"][str(status)]
        value = json.loads(text)
        check(answer["content"][kind]["schema"], value, f"{operation['operationId']} {status}")
        return status, value

    return call


client = {
    operation["operationId"]: method_of(verb, path, operation)
    for path, item in document["paths"].items()
    for verb, operation in item.items()
}
# Every example is one of its own schema.
for name, schema in document["components"]["schemas"].items():
    if "example" in schema:
        check(schema, schema["example"], name)

calls = [
    client["Health_live"](),
    client["Tokens_create"](body={"name": "python", "role": "viewer"}),
    client["Jobs_create"](body=document["components"]["schemas"]["CreateJob"]["example"]),
    client["Jobs_get"](name="web"),
    client["Jobs_patch"](name="web", body={"env": {"GREETING": "two"}}),
    client["Jobs_list"](limit=1),
    client["Deployments_list"](name="web"),
    client["Events_list"](job="web"),
    client["Jobs_get"](name="missing"),
    client["Jobs_delete"](name="web"),
]
print(json.dumps({"operations": len(client), "patterns": patterns, "statuses": [status for status, _ in calls]}))
