# SPDX-License-Identifier: Apache-2.0
"""openapi.json: its operations, and whether an answer is what it says."""
import datetime
import re

METHODS = ("get", "put", "post", "patch", "delete")
# Of every answer, whatever it says (RFC 9110, RFC 9112).
TRANSPORT = {"date", "content-length", "content-type", "connection",
             "keep-alive", "transfer-encoding"}
JSON_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool,
              "integer": int, "number": (int, float)}


def _is_time(text):
    """RFC 3339 in UTC."""
    return text.endswith("Z") and \
        datetime.datetime.fromisoformat(text[:-1] + "+00:00") is not None


FORMATS = {"date-time": _is_time,
           "date": lambda text: datetime.date.fromisoformat(text) is not None}


class Contract:
    """The document, with its references resolved where they are met."""

    def __init__(self, document):
        self.document = document

    def operations(self):
        """(method, path, operation) of all that takes a credential."""
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item and path.startswith("/v1/"):
                    yield method.upper(), path, item[method]

    def resolve(self, node):
        """What a $ref stands for."""
        while "$ref" in node:
            assert node["$ref"].startswith("#/"), node
            found = self.document
            for word in node["$ref"][2:].split("/"):
                found = found[word]
            node = found
        return node

    def references(self, node=...):
        """Every $ref of the document."""
        node = self.document if node is ... else node
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node
            for value in node.values():
                yield from self.references(value)
        elif isinstance(node, list):
            for value in node:
                yield from self.references(value)

    def operation_of(self, method, path):
        """The operation behind a real path."""
        plain = path.partition("?")[0]
        for name, template, operation in self.operations():
            if name == method and re.fullmatch(
                    re.sub(r"\{\w+\}", "[^/]+", template), plain):
                return operation
        raise AssertionError(f"{method} {plain} is in no contract")

    def faults(self, schema, value, place=""):
        """The places where a value does not match its schema. An unknown
        member is a fault: the contract names every member."""
        schema = self.resolve(schema)
        if "anyOf" in schema:
            tried = [self.faults(one, value, place) for one in schema["anyOf"]]
            return [] if [] in tried else tried[0]
        kind = schema.get("type")
        if isinstance(kind, list):
            if value is None and "null" in kind:
                return []
            (kind,) = [one for one in kind if one != "null"]
        if kind is not None:
            right = isinstance(value, JSON_TYPES[kind]) and \
                (kind == "boolean" or not isinstance(value, bool))
            if not right:
                return [f"{place}: no {kind}"]
        found = []
        if kind == "object":
            known = schema.get("properties", {})
            found += [f"{place}/{name}: missing"
                      for name in schema.get("required", [])
                      if name not in value]
            for name, member in value.items():
                found += [f"{place}/{name}: unknown"] if name not in known \
                    else self.faults(known[name], member, f"{place}/{name}")
        elif kind == "array":
            if len(value) > schema.get("maxItems", len(value)):
                found.append(f"{place}: too many")
            for index, item in enumerate(value):
                found += self.faults(schema["items"], item, f"{place}/{index}")
        elif kind == "string":
            found += self._text_faults(schema, value, place)
        return found

    @staticmethod
    def _text_faults(schema, value, place):
        words = schema.get("enum", schema.get("x-extensible-enum"))
        if words is not None and value.partition(":")[0] not in words:
            return [f"{place}: {value} is none of its words"]
        if len(value) > schema.get("maxLength", len(value)):
            return [f"{place}: too long"]
        if not re.search(schema.get("pattern", ""), value):
            return [f"{place}: not of its form"]
        try:
            right = FORMATS.get(schema.get("format"), lambda _: True)(value)
        except ValueError:
            right = False
        return [] if right else [f"{place}: no {schema['format']}"]

    def response(self, operation, reply):
        """The described response of a status, or None."""
        described = operation["responses"].get(str(reply.status))
        return None if described is None else self.resolve(described)

    def answer_faults(self, method, path, reply):
        """What is wrong with a real answer."""
        described = self.response(self.operation_of(method, path), reply)
        if described is None:
            return [f"{method} {path}: {reply.status} is not described"]
        media = reply.headers.get("content-type", "").partition(";")[0]
        known = {name.lower() for name in described.get("headers", {})}
        found = [f"{method} {path}: {reply.status} has {name}, not described"
                 for name in set(reply.headers) - known - TRANSPORT]
        if reply.json is None:
            return found
        if media not in described.get("content", {}):
            return found + [f"{method} {path}: {media} is not described"]
        schema = described["content"][media]["schema"]
        return found + [f"{method} {path}: {reply.status} {fault}"
                        for fault in self.faults(schema, reply.json)]
