"""What differs between the contract and a receiver's description of its body."""

import time
from typing import Any

import pytest

from incident_process.operations.openapi_drift import (
    Differences,
    OpenApiOperation,
    TooLargeError,
    compare,
    operation,
    posts,
)
from tests.support.fastapi_documents import PATH, contract, document


def differences(found: dict[str, Any], path: str = PATH, folder: str = "/") -> Differences:
    described = operation(found, path, folder)
    assert described is not None
    return compare(contract(), described)


def changed(**properties: Any) -> dict[str, Any]:
    """The contract with properties of the body replaced; None takes one away."""
    schema = contract()
    for name, value in properties.items():
        schema["properties"].pop(name, None)
        if value is None:
            schema["required"] = [one for one in schema["required"] if one != name]
        else:
            schema["properties"][name] = value
    return schema


def test_the_contract_as_fastapi_writes_it_has_no_differences() -> None:
    assert not differences(document())


def test_what_the_description_lacks_is_missing_or_refused() -> None:
    found = differences(document(changed(Arrears=None, Remark=None)))
    assert (found.missing, found.refused, found.rejections) == (("Arrears", "Remark"), (), 0)
    found = differences(document({**changed(Arrears=None), "additionalProperties": False}))
    assert (found.refused, found.missing) == (("Arrears",), ())


def test_what_it_has_more_is_required_or_unknown() -> None:
    schema = changed(Drc_Code={"type": "string"}, Note={"type": ["string", "null"]})
    schema["required"].append("Drc_Code")
    found = differences(document(schema))
    assert (found.required, found.unknown) == (("Drc_Code",), ("Note",))
    assert found.rejections == 1


@pytest.mark.parametrize(
    ("name", "theirs", "said"),
    [
        ("Arrears", {"type": "integer"}, "Arrears (number here, integer there)"),
        ("Arrears", {"type": "string"}, "Arrears (number here, string there)"),
        ("Account_Num", {"type": "integer"}, "Account_Num (string here, integer there)"),
        ("Created_Dtm", {"type": "string", "format": "date"}, "Created_Dtm (string here, string (date) there)"),
        ("Customer_Details", {"type": "string"}, "Customer_Details (object here, string there)"),
        ("DRC", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "DRC (array here, string there)"),
        ("Remark", {"type": "null"}, None),
        ("Validity_period", {"type": "number", "nullable": True}, None),
        ("Arrears", {"oneOf": [{"type": "string"}, {"type": "number"}]}, None),
        ("Account_Num", {}, None),
        ("Account_Num", True, None),
        ("Account_Num", {"$ref": "#/components/schemas/Nowhere"}, None),
        ("Account_Num", {"$ref": "https://elsewhere.example/schema.json"}, None),
    ],
)
def test_another_type_is_told_with_both(name: str, theirs: Any, said: str | None) -> None:
    found = differences(document(changed(**{name: theirs})))
    assert found.of_type == (() if said is None else (said,))


def test_properties_within_lists_are_named_by_their_way() -> None:
    schema = contract()
    contact = schema["properties"]["Contact_Details"]["items"]
    contact["properties"]["Contact_Type"]["enum"] = ["email", "mobile"]
    contact["properties"]["Verified"] = {"type": "boolean"}
    contact["required"].append("Verified")
    del schema["properties"]["Account_Details"]["properties"]["Account_Status"]
    found = differences(document(schema))
    assert found.required == ("Contact_Details[].Verified",)
    assert found.missing == ("Account_Details.Account_Status",)
    assert found.of_type == (
        "Contact_Details[].Contact_Type (string (email, mobile, fix) here, string (email, mobile) there)",
    )


def test_all_of_is_put_together() -> None:
    schema = contract()
    names = list(schema["properties"])
    halves: list[dict[str, Any]] = [
        {"type": "object", "properties": {name: schema["properties"][name] for name in part}, "required": part}
        for part in (names[:20], names[20:])
    ]
    assert not differences(document({"allOf": halves}))
    halves[1]["required"].append("More")
    assert differences(document({"allOf": halves})).required == ("More",)


def test_a_description_that_turns_in_circles_ends() -> None:
    found = document()
    schemas = found["components"]["schemas"]
    schemas["Loop"] = {"$ref": "#/components/schemas/Loop"}
    schemas["Tree"] = {"anyOf": [{"$ref": "#/components/schemas/Tree"}] * 5 + [{"type": "string"}]}
    schemas["Incident"]["properties"]["Account_Num"] = {"$ref": "#/components/schemas/Loop"}
    schemas["Incident"]["properties"]["Remark"] = {"$ref": "#/components/schemas/Tree"}
    assert not differences(found)


@pytest.mark.parametrize(
    "wrong",
    [
        None, [], "text", 7, {}, {"paths": None}, {"paths": []}, {"paths": {PATH: None}},
        {"paths": {PATH: {"post": []}}},
        {"paths": {PATH: {"get": {}}}},
    ],
)  # fmt: skip
def test_what_is_no_description_has_no_operation(wrong: Any) -> None:
    assert operation(wrong, PATH, "/") is None
    assert posts(wrong) == ()


@pytest.mark.parametrize(
    "post",
    [
        {},
        {"requestBody": None},
        {"requestBody": {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        {"requestBody": {"$ref": "#/components/requestBodies/X"}},
        {"requestBody": {"content": {"application/json": {}}}},
        {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}},
        {
            "requestBody": {
                "content": {"application/json": {"schema": {"type": "object", "properties": 5, "required": 7}}}
            }
        },
    ],
)
def test_of_a_body_that_is_not_described_nothing_is_said(post: Any) -> None:
    described = operation({"paths": {PATH: {"post": post}}}, PATH, "/")
    assert described is not None
    assert not compare(contract(), described)


@pytest.mark.parametrize(
    ("api_path", "folder", "described", "more"),
    [
        ("/a/b/incidents", "/a/b/", "/a/b/incidents", {}),
        ("/a/b/incidents", "/a/b/", "/incidents", {}),
        ("/a/b/incidents", "/a/", "/b/incidents", {}),
        ("/v1/incidents", "/", "/incidents", {"servers": [{"url": "/v1"}]}),
        ("/v1/incidents", "/", "/incidents", {"servers": [{"url": "https://host.example/v1/"}, None]}),
        ("/v1/incidents", "/", "/incidents", {"servers": [{"url": "http://["}, {"url": [1]}, {"url": "/v1"}]}),
        ("/incidents/", "/", "/incidents", {}),
        ("/incidents", "/", "/incidents/", {}),
        ("/v2/incidents", "/", "/{version}/incidents", {}),
    ],
)
def test_the_operation_is_found_from_wherever_its_path_is_meant(
    api_path: str, folder: str, described: str, more: dict[str, Any]
) -> None:
    assert not differences(document(path=described, **more), api_path, folder)
    assert operation(document(path="/other", **more), api_path, folder) is None


@pytest.mark.parametrize("form", [[], {}, 7, None])
def test_a_format_that_is_no_text_asks_for_nothing(form: Any) -> None:
    assert not differences(document(changed(Remark={"type": "string", "format": form})))


def _branching() -> dict[str, Any]:
    """Return two kilobytes that refer to 6**15 descriptions."""
    schemas: dict[str, Any] = {f"S{n}": {"allOf": [{"$ref": f"#/c/S{n + 1}"}] * 6} for n in range(15)}
    return {"$ref": "#/c/S0", "c": schemas | {"S15": {"type": "object"}}}


def _repeated() -> dict[str, Any]:
    """Return a property that is described 64 times at each of four levels."""

    def many(one: Any) -> dict[str, Any]:
        return {"anyOf": [one] * 64}

    item = many({"type": "object", "properties": dict.fromkeys(("Contact_Type", "Contact"), many({"type": "string"}))})
    return many({"type": "object", "properties": {"Contact_Details": many({"type": "array", "items": item})}})


def _many_names() -> dict[str, Any]:
    return {"type": "object", "required": [f"n{n}" for n in range(300_000)]}


@pytest.mark.parametrize("schema", [_branching(), _repeated(), _many_names()], ids=["branching", "repeated", "names"])
def test_a_description_that_takes_too_long_to_compare_is_given_up_soon(schema: dict[str, Any]) -> None:
    ours = contract()
    begun = time.process_time()
    with pytest.raises(TooLargeError):
        compare(ours, OpenApiOperation(schema, schema))
    assert time.process_time() - begun < 0.5


def test_a_value_that_is_huge_or_deep_is_not_repeated() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    body = {"type": "array", "enum": [deep, "x" * 5000]}
    (said,) = compare(contract(), OpenApiOperation(body, body)).of_type
    assert "array (…, xxx" in said
    assert len(said) < 200
