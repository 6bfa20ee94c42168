# Made by ci/front_door.py from _catalog.py.

from proxystore.connectors.file import FileConnector as FileConnector
from proxystore.connectors.local import LocalConnector as LocalConnector
from proxystore.connectors.multi import MultiConnector as MultiConnector
from proxystore.connectors.shm import ShmConnector as ShmConnector
from proxystore_connectors_daos import DAOSConnector as DAOSConnector  # type: ignore[import-not-found,import-untyped,unused-ignore]
from proxystore_connectors_endpoint import EndpointConnector as EndpointConnector  # type: ignore[import-not-found,import-untyped,unused-ignore]
from proxystore_connectors_globus import GlobusConnector as GlobusConnector  # type: ignore[import-not-found,import-untyped,unused-ignore]
from proxystore_connectors_margo import MargoConnector as MargoConnector  # type: ignore[import-not-found,import-untyped,unused-ignore]
from proxystore_connectors_obstore import ObstoreConnector as ObstoreConnector  # type: ignore[import-not-found,import-untyped,unused-ignore]
from proxystore_connectors_redis import RedisConnector as RedisConnector  # type: ignore[import-not-found,import-untyped,unused-ignore]
from proxystore_connectors_ucx import UCXConnector as UCXConnector  # type: ignore[import-not-found,import-untyped,unused-ignore]
from proxystore_connectors_zmq import ZMQConnector as ZMQConnector  # type: ignore[import-not-found,import-untyped,unused-ignore]
