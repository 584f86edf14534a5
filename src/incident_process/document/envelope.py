"""The rest of the body around an account's content: what a run adds, and what is the same in every body (SPEC 4).

Within a run it differs in few values from body to body, so it is encoded once, with gaps for these. It is made field by
field from the model, in the model's order; the caller has the model's decoder check one whole body of each envelope.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from incident_process.document import incident_model
from incident_process.document.convert import NO_DATE
from incident_process.document.validation import contract_error

encoder = msgspec.json.Encoder(decimal_format="number")
decoder = msgspec.json.Decoder(incident_model.IncidentDocument)

GAP = b"%b"
_CONTENT = (
    "Account_Num",
    "Customer_Ref",
    "Arrears",
    "Bss_Arrears_Amount",
    "Last_Bss_Reading_Date",
    "Contact_Details",
    "Product_Details",
    "Customer_Details",
    "Account_Details",
    "Last_Actions",
    "Incident_Id",
    "Account_Cross_Details",
)
"""Properties that differ from body to body, in the model's order."""
_CROSS = ("Account_Num", "Outstanding_Balance", "Incident_Id", "Account_Status")
TIMES = (
    "Created_Dtm",
    "Incident_Status_Dtm",
    "Batch_Id_Tag_Dtm",
    "External_Data_Update_On",
    "Export_On",
    "Incident_Forwarded_On",
    "updatedAt",
    "Rejected_Dtm",
)
"""Properties that hold the time of the run."""
_ID_LIMIT = 2**53  # every Incident_Id is below it


class Envelope:
    """The envelope of one run, made from the run's time (as text) and the author that its documents name."""

    def __init__(self, time: str, created_by: str) -> None:
        constant: dict[str, Any] = dict.fromkeys(TIMES, time)
        constant["Created_By"] = created_by
        constant["Marketing_Details"] = [incident_model.Marketing(Informed_On=NO_DATE)]
        gaps = dict.fromkeys(_CONTENT, GAP)
        gaps["Last_Actions"] = b"[%b]" % GAP
        gaps["Account_Cross_Details"] = b"[%b]" % _with_gaps(
            incident_model.AccountCross, dict.fromkeys(_CROSS, GAP), {}
        )
        self.created_by = created_by
        self._whole = _with_gaps(incident_model.IncidentDocument, gaps, constant)

    def around(self, values: Sequence[bytes], contacts: bytes, incident_id: int) -> bytes:
        """Return the body around content; raise DataProcessingError where the model does not allow the id.

        ``values``: as ``assembly.DocumentContent`` has them; ``contacts``: as JSON of the body.
        """
        if not 0 < incident_id < _ID_LIMIT:
            raise contract_error("Incident_Id is out of bounds")
        number = b"%d" % incident_id
        account, customer_ref, arrears, read_on, _, products, customer, details, action, status, _ = values
        return self._whole % (
            account,
            customer_ref,
            arrears,
            arrears,
            read_on,
            contacts,
            products,
            customer,
            details,
            action,
            number,
            account,
            arrears,
            number,
            status,
        )


def decode_body(body: bytes) -> incident_model.IncidentDocument:
    """Return a body as the model.

    Raises DataProcessingError when it does not fit the model; the message names the place, not the value.
    """
    try:
        return decoder.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise contract_error(str(exc)) from exc


def check(body: bytes) -> None:
    """Raise DataProcessingError when the body does not fit the model."""
    decode_body(body)


def _with_gaps(part: type[msgspec.Struct], gaps: Mapping[str, bytes], constant: Mapping[str, Any]) -> bytes:
    """Return a part's JSON with gaps for some fields and, for the others, the given constant or the model's default."""
    pieces = []
    for field in msgspec.structs.fields(part):
        value = gaps.get(field.name)
        if value is None:
            plain = constant[field.name] if field.name in constant else _default(field)
            value = encoder.encode(plain).replace(b"%", b"%%")
        pieces.append(b'"%b":%b' % (field.encode_name.encode(), value))
    return b"{" + b",".join(pieces) + b"}"


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if callable(field.default_factory) else field.default
