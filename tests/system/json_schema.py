"""As much of JSON Schema as the project's own schemas use."""
import re

KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float), "integer": int}


def check(value, schema, where, root=None):
    """Fails with the place of what does not fit."""
    root = root or schema
    if "$ref" in schema:
        return check(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], where, root)
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        right = any(isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds)
        assert right, f"{where}: {value!r} is no {schema['type']}"
    if "const" in schema:
        assert value == schema["const"], f"{where}: {value!r}"
    if "enum" in schema:
        assert value in schema["enum"], f"{where}: {value!r}"
    if "pattern" in schema:
        assert re.search(schema["pattern"], value), f"{where}: {value!r} does not fit {schema['pattern']}"
    if "minimum" in schema:
        assert value >= schema["minimum"], where
    if "maximum" in schema:
        assert value <= schema["maximum"], where
    for some in ("oneOf", "anyOf"):
        if some in schema:
            assert any(fits(value, one, where, root) for one in schema[some]), f"{where}: {value!r} fits none"
    if isinstance(value, list):
        assert len(value) >= schema.get("minItems", 0), where
        for item in value:
            check(item, schema.get("items", {}), where, root)
    if isinstance(value, dict):
        check_object(value, schema, where, root)


def check_object(value, schema, where, root):
    missing = set(schema.get("required", [])) - set(value)
    assert not missing, f"{where}: without {missing}"
    assert len(value) >= schema.get("minProperties", 0), where
    for key, item in value.items():
        check(key, schema.get("propertyNames", {}), where, root)
        known = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
        assert known is not False, f"{where}: unknown {key}"
        check(item, known, f"{where}.{key}", root)


def fits(value, schema, where, root):
    try:
        check(value, schema, where, root)
    except AssertionError:
        return False
    return True
