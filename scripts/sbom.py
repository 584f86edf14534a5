"""Write a software bill of materials in CycloneDX's JSON, made from the constraint file: `make sbom`.

Usage: sbom.py FILE

Every pinned version is a component with its purl. Its scope says what it is for: `required` is what the program needs,
`optional` what one of its extras needs, `excluded` what only its development does, which no installation holds.
Licences and dependencies are what the installed packages say of themselves, so they are known of what .venv holds.
"""

import importlib.metadata
import sys
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pinned import ABOUT, CONSTRAINTS, Pin, StoppedError, closure, pins, wanted_by

VERSION = SchemaVersion.V1_6
LONGEST_NAME = 64
"""Characters of a licence's name; some packages put its whole text there."""


def licences(name: str) -> list[License]:
    """Return a package's licences as its metadata states them: the expression, or the name, or the classifiers."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return []
    factory = LicenseFactory()
    if expression := metadata.get_all("License-Expression"):
        return [factory.make_from_string(expression[0])]
    classifiers = [
        classifier.rpartition(" :: ")[2]
        for classifier in metadata.get_all("Classifier") or []
        if classifier.startswith("License :: ") and classifier != "License :: OSI Approved"
    ]
    stated = (metadata.get_all("License") or [""])[0].strip()
    if stated and len(stated) <= LONGEST_NAME and "\n" not in stated and stated.upper() != "UNKNOWN":
        return [factory.make_from_string(stated)]
    return [factory.make_with_name(classifier) for classifier in classifiers]


def component(pin: Pin, scope: ComponentScope) -> Component:
    """Return a pinned version as CycloneDX has it."""
    purl = PackageURL("pypi", None, pin.name, pin.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        purl=purl,
        bom_ref=purl.to_string(),
        scope=scope,
        licenses=licences(pin.name),
    )


def bill(constraints: Path) -> Bom:
    """Return the bill of materials of this project, whose versions a constraint file pins.

    Raises:
        StoppedError: The file has a line that pins nothing, or lacks what the program needs.
    """
    needed = closure(map(Requirement, ABOUT["dependencies"]))
    extras = closure(Requirement(line) for lines in ABOUT["optional-dependencies"].values() for line in lines) - needed
    pinned = {pin.name: pin for pin in pins(constraints)}
    missing = sorted((needed | extras) - pinned.keys())
    if missing:
        raise StoppedError(f"{constraints} does not pin what is installed: {', '.join(missing)}.", 2)
    bom = Bom()
    root = Component(
        type=ComponentType.APPLICATION,
        name=ABOUT["name"],
        version=ABOUT["version"],
        purl=PackageURL("generic", None, ABOUT["name"], ABOUT["version"]),
        bom_ref=ABOUT["name"],
        licenses=[LicenseFactory().make_from_string(ABOUT["license"])],
    )
    bom.metadata.component = root
    components = {}
    for name, pin in sorted(pinned.items()):
        scope = (
            ComponentScope.REQUIRED
            if name in needed
            else ComponentScope.OPTIONAL
            if name in extras
            else ComponentScope.EXCLUDED
        )
        components[name] = component(pin, scope)
        bom.components.add(components[name])
    direct = [canonicalize_name(Requirement(line).name) for line in ABOUT["dependencies"]]
    bom.register_dependency(root, [components[name] for name in direct])
    for name, one in components.items():
        names = {canonicalize_name(requirement.name) for requirement in wanted_by(name, ())}
        bom.register_dependency(one, [components[other] for other in sorted(names & components.keys())])
    return bom


def main(arguments: list[str]) -> int:
    """Write the file, which has passed CycloneDX's schema, and return the exit status."""
    (file,) = map(Path, arguments)
    try:
        bom = bill(CONSTRAINTS)
    except StoppedError as exc:
        print(exc, file=sys.stderr)
        return exc.status
    text = make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string(indent=2)
    error = JsonStrictValidator(VERSION).validate_str(text)
    if error is not None:
        print(f"The bill of materials does not fit CycloneDX's schema: {error}", file=sys.stderr)
        return 1
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n", encoding="utf-8")
    unknown = [one.name for one in bom.components if not one.licenses]
    print(f"{file}: {len(bom.components)} components, CycloneDX {VERSION.to_version()}.")
    if unknown:
        print(f"Not installed here, or without a word of its licence: {', '.join(sorted(unknown))}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
