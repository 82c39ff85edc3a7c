"""Queue: durable jobs, and tasks leased to workers, in the catalog's database."""

from covpool.service.queue.jobs import JobQueue as JobQueue
from covpool.service.queue.leases import TaskLeases as TaskLeases
from covpool.service.queue.values import FitTask as FitTask
from covpool.service.queue.values import Job as Job
from covpool.service.queue.values import Progress as Progress
from covpool.service.queue.values import Record as Record
from covpool.service.queue.values import RejectedRecord as RejectedRecord
from covpool.service.queue.values import Request as Request
from covpool.service.queue.values import Stats as Stats
from covpool.service.queue.values import Task as Task
from covpool.service.queue.values import WorkerState as WorkerState
from covpool.service.queue.workers import Workers as Workers
from covpool.service.schemas import Priority as Priority
