"""Files that one part writes or mounts, and another reads."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from cacheclient.contract.in_redis import RedisUser


class Script(StrEnum):
    """File names of the shell scripts, as mounted in the pods and as run by the local environment."""

    REDIS_START = "redis-start.sh"
    REDIS_STOP = "redis-stop.sh"
    REDIS_PROBE = "redis-probe.sh"
    REDIS_ROTATE = "redis-rotate.sh"
    SENTINEL_START = "sentinel-start.sh"
    SENTINEL_PROBE = "sentinel-probe.sh"
    SENTINEL_ROTATE = "sentinel-rotate.sh"
    ASK = "ask.sh"  # sourced by the others, from their own directory


# The texts of infra.redis_conf are mounted under these names, all in one directory; CACHE_CONF_FILE names the first
# (Redis pods) or the second (Sentinel pods). The start scripts look for the ACL file beside the first.
REDIS_CONF: Final = "redis.conf"
SENTINEL_CONF: Final = "sentinel.conf"
ACL_CONF: Final = "users.acl"

# A restore of the whole set puts this file into CACHE_RESTORE_DIR of every node: "ID HOST". Each node obeys it once, at
# its next start: HOST leads with the data that was restored to its disk, the others follow it, the Sentinels watch it.
RESTORE_MARK: Final = "mark"


class TlsFile(StrEnum):
    """Files of a TLS Secret, named as cert-manager and ``kubectl create secret tls`` name them."""

    CERTIFICATE = "tls.crt"
    KEY = "tls.key"
    AUTHORITY = "ca.crt"


SENTINEL_AUTH_FILE: Final = "sentinel-auth"
PASSWORD_FILES: Final = (*(user.value for user in RedisUser), SENTINEL_AUTH_FILE)  # all that there are
# While passwords are rotated, a file of this suffix beside a password holds the other one that is valid.
ALTERNATE_SUFFIX: Final = ".alt"
ROTATION_FILE: Final = "rotation"  # beside the passwords: the step of a rotation that is under way
EXPORTER_AUTH_FILE: Final = "exporter.json"  # redis_exporter's own format: a map from addresses to passwords
