"""What can be asked for: methods and architectures."""

from __future__ import annotations

from api.auth import ReadKey
from api.routing import problems, router
from api.schemas.choices import ArchitectureList, ArchitectureObject, MethodList, MethodObject
from fqt_core.config import ARCHITECTURES, METHODS

routes = router("methods")


@routes.get("/methods", responses=problems())
def list_methods(_key: ReadKey) -> MethodList:
    """List the training methods with the JSON schema of their options."""
    return MethodList(data=[MethodObject.of(name, row) for name, row in METHODS.items()])


@routes.get("/architectures", responses=problems())
def list_architectures(_key: ReadKey) -> ArchitectureList:
    """List the networks with the JSON schema of their options."""
    return ArchitectureList(data=[ArchitectureObject.of(name, row) for name, row in ARCHITECTURES.items()])
