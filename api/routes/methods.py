"""What can be asked for: methods and architectures."""

from __future__ import annotations

from api.auth import ReadKey
from api.routing import problems, router
from api.schemas.choices import ArchitectureList, ArchitectureObject, MethodList, MethodObject
from fqt_core.config import ARCHITECTURES, METHODS, SEARCHES

routes = router("methods")


@routes.get("/methods", responses=problems())
def list_methods(_key: ReadKey) -> MethodList:
    """List the methods of training, and of searching a network's structure, with the JSON schema of their options."""
    methods = [MethodObject.of(name, row) for name, row in METHODS.items()]
    return MethodList(data=[*methods, *(MethodObject.of_search(name, row) for name, row in SEARCHES.items())])


@routes.get("/architectures", responses=problems())
def list_architectures(_key: ReadKey) -> ArchitectureList:
    """List the networks with the JSON schema of their options."""
    return ArchitectureList(data=[ArchitectureObject.of(name, row) for name, row in ARCHITECTURES.items()])
