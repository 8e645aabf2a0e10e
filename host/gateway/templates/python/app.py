"""What the gateway calls. The contract is in wit/, the work in mapping.py."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import log
from wit_world.imports.types import Denial, Identity, VerifiedToken

import mapping


class Mapping(exports.Mapping):
    """One instance answers many calls, one at a time."""

    def init(self, config: str) -> None:
        global configuration
        try:
            configuration = mapping.Config.read(json.loads(config))
        except mapping.Wrong as wrong:
            raise Err(str(wrong))

    def resolve(self, token: VerifiedToken) -> Identity:
        try:
            user, groups = mapping.user_and_groups(configuration, json.loads(token.claims))
        except mapping.Denied as denied:
            raise Err(Denial(str(denied)))
        log.write(log.Level.INFO, f"{len(groups)} of its groups count")
        return Identity(user=user, uid=token.subject, groups=groups, extra=[])
