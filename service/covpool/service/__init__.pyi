from .http.app import create_app as create_app
from .queue import JobQueue as JobQueue
from .settings import Settings as Settings
