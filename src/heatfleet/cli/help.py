"""What ``--help`` shows of an option: the type of its value, and nothing where it takes none."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose switches show no type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, in order."""
        return _without_type_of_switches(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose switches show no type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, in order."""
        return _without_type_of_switches(super().get_params(ctx))


def _without_type_of_switches(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters
