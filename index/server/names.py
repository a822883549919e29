"""What the collections and the alias of an index are called."""

import re
from dataclasses import dataclass

from qdrant_client import models

from handsim.errors import HandsimError
from index.server.connection import Connection


@dataclass(frozen=True)
class Names:
    """Of one index: `NAME-v0001`, ... are its versions, the alias `NAME` points to the current one."""

    index: str
    """NAME."""
    shown: str
    """What people call it."""

    def collection(self, version: str) -> str:
        """The collection of a version."""
        return f"{self.index}-{version}"

    def collections(self, connection: Connection) -> dict[str, str]:
        """Collections of all versions and drafts, by version, oldest first."""
        found = connection.call(lambda client: client.get_collections()).collections
        names = [self._version(collection.name) for collection in found]
        versions = sorted((name for name in names if name is not None), key=number)
        return {version: self.collection(version) for version in versions}

    def current(self, connection: Connection) -> str | None:
        """The version that the alias points to; None without one.

        Raises HandsimError when it points to something else.
        """
        aliases = connection.call(lambda client: client.get_aliases()).aliases
        for alias in aliases:
            if alias.alias_name == self.index:
                version = self._version(alias.collection_name)
                if version is None:
                    raise HandsimError(
                        f"the alias {self.index} points to {alias.collection_name}, which is no version of "
                        f"{self.shown}; `handsim index publish VERSION` points it to one"
                    )
                return version
        return None

    def point_alias(self, connection: Connection, version: str) -> None:
        """Have the alias point to a version, in one step for all readers."""
        moves: list[models.AliasOperations] = []
        aliases = connection.call(lambda client: client.get_aliases()).aliases
        if any(alias.alias_name == self.index for alias in aliases):
            moves.append(self._without_alias())
        target = models.CreateAlias(collection_name=self.collection(version), alias_name=self.index)
        moves.append(models.CreateAliasOperation(create_alias=target))
        connection.call(lambda client: client.update_collection_aliases(change_aliases_operations=moves))

    def remove_alias(self, connection: Connection) -> None:
        """Have no current version any more."""
        connection.call(
            lambda client: client.update_collection_aliases(change_aliases_operations=[self._without_alias()])
        )

    def check_free(self, connection: Connection) -> None:
        """Raise HandsimError when another program has a collection where the alias belongs."""
        found = connection.call(lambda client: client.get_collections()).collections
        if any(collection.name == self.index for collection in found):
            raise HandsimError(
                f"the collection {self.index} is another program's; "
                f"give this index another name: http://host:6333/NAME"
            )

    def _version(self, collection: str) -> str | None:
        match = re.fullmatch(rf"{re.escape(self.index)}-(v\d{{4,}})", collection)
        return match and match[1]

    def _without_alias(self) -> models.DeleteAliasOperation:
        return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.index))


def number(version: str) -> int:
    """7 of ``v0007``."""
    return int(version[1:])
