"""A document beside what was delivered of it: what differs is said, also of what is not shown."""

import json
from typing import Any

from incident_process.dashboard.difference import Change, Line, lines

NOW: dict[str, Any] = {
    "Account_Num": "0001",
    "Arrears": 10.50,
    "updatedAt": "2026-03-02T00:00:00.000Z",
    "Contact_Details": [
        {"Contact_Type": "email", "Contact": "new@example.net"},
        {"Contact_Type": "mobile", "Contact": "0790000000"},
    ],
    "Product_Details": [{"Product_Id": "A0", "Cat": "x"}, {"Product_Id": "A1", "Cat": "y"}],
    "Customer_Details": {"Nic": "111", "Customer_Type": "Home", "Zip_Code": ""},
    "RO": [],
}


def compared(then: dict[str, Any] | None, *, masked: bool = True) -> dict[str, Line]:
    old = None if then is None else json.dumps(then).encode()
    found = lines(json.dumps(NOW).replace("10.5", "10.50").encode(), old, masked=masked)
    return {".".join(line.path): line for line in found}


def test_equal_documents_have_no_difference() -> None:
    assert {line.change for line in compared(NOW).values()} == {Change.SAME}


def test_what_differs_is_said_and_personal_values_are_not() -> None:
    found = compared({**NOW, "Arrears": 9, "Customer_Details": {"Nic": "222", "Customer_Type": "Home", "Zip_Code": ""}})
    assert found["Arrears"].change is Change.CHANGED
    assert (found["Arrears"].now, found["Arrears"].then) == ("10.50", 9)
    nic = found["Customer_Details.Nic"]
    assert (nic.change, nic.now, nic.then, nic.personal) == (Change.CHANGED, "***", "***", True)
    assert found["Customer_Details.Zip_Code"].now == "", "that there is none may be known"
    assert "222" not in repr(found)
    assert compared(NOW, masked=False)["Customer_Details.Nic"].now == "111"


def test_items_are_set_beside_their_like() -> None:
    then = {**NOW, "Product_Details": [{"Product_Id": "A1", "Cat": "y"}, {"Product_Id": "A9", "Cat": "z"}]}
    found = compared(then)
    assert found["Product_Details.1.Product_Id"].change is Change.ADDED
    assert found["Product_Details.2.Cat"].change is Change.SAME, "it has moved, and has not changed"
    assert found["Product_Details.3.Product_Id"].change is Change.REMOVED
    assert found["Product_Details.3.Product_Id"].then == "A9"


def test_a_contact_that_changed_is_one_that_went_and_one_that_came() -> None:
    old = [{"Contact_Type": "email", "Contact": "old@example.net"}, NOW["Contact_Details"][1]]
    found = compared({**NOW, "Contact_Details": old})
    assert [found[f"Contact_Details.{place}.Contact"].change for place in (1, 2, 3)] == [
        Change.ADDED,
        Change.SAME,
        Change.REMOVED,
    ]
    assert "@" not in "".join(str((line.path, line.now, line.then)) for line in found.values())


def test_without_the_delivered_body_nothing_is_said_of_it() -> None:
    found = compared(None)
    assert {line.change for line in found.values()} == {Change.UNKNOWN}
    assert found["RO"].now == []


def test_what_each_run_stamps_is_told_apart() -> None:
    assert [path for path, line in compared(NOW).items() if line.envelope] == ["updatedAt"]
