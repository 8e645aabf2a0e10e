"""Names people by one of their claims, and gives them those of their groups that are meant for Kubernetes.

Nothing in here knows of the gateway, so it is tested with a plain `python3 -m unittest`.
"""

from dataclasses import dataclass


class Wrong(Exception):
    """The configuration can't be used, and why."""


class Denied(Exception):
    """The user is not let in, in words for that person and without the claims themselves."""


@dataclass(frozen=True)
class Config:
    """What the operator writes under `plugins.PLUGIN_NAME.config`."""

    # How the groups begin that count. What follows is the group's name for RBAC: with `k8s-`, members of
    # `k8s-dev` are in `dev`.
    prefix: str
    # The claim that names the user.
    claim: str = "email"

    @classmethod
    def read(cls, given: dict) -> "Config":
        # A misspelled key must not be silently absent.
        for key, value in given.items():
            if key not in ("prefix", "claim"):
                raise Wrong(f"config.{key}: unknown field, expected `prefix` or `claim`")
            if not isinstance(value, str) or not value:
                raise Wrong(f"config.{key}: is no text, or an empty one")
        if "prefix" not in given:
            raise Wrong("config: missing field `prefix`: write `k8s-`")
        return cls(**given)


def user_and_groups(config: Config, claims: dict) -> tuple[str, list[str]]:
    user = claims.get(config.claim)
    if not isinstance(user, str) or not user:
        raise Denied(f"your token has no claim `{config.claim}`: ask for an account with one")
    # Anybody can claim anybody's address (OpenID Connect Core section 5.1).
    if config.claim == "email" and claims.get("email_verified", True) is not True:
        raise Denied("your e-mail address is not verified; confirm it with your identity provider")
    claimed = claims.get("groups") or []
    if not isinstance(claimed, list) or not all(isinstance(group, str) for group in claimed):
        raise Denied("the claim `groups` of your token should be a list of strings")
    kept = [group.removeprefix(config.prefix) for group in claimed if group.startswith(config.prefix)]
    groups = [group for group in kept if group]
    if not groups:
        raise Denied(f"you are in no group whose name begins with `{config.prefix}`: ask to be added to one")
    return user, groups
