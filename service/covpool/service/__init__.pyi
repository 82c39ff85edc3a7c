from .http.app import create_app as create_app
from .queue import Queue as Queue
from .settings import Settings as Settings
