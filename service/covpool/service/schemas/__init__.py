"""The wire contract: every request and response body (pydantic only; clients share this package).

Convention: matrices travel as bytes (`/v1/moments`), never in JSON; embeddings are row-major. Coordinates
are 0-based and half-open, as everywhere in covpool.
"""

from covpool.service.schemas.answers import Bottleneck as Bottleneck
from covpool.service.schemas.answers import BottleneckFit as BottleneckFit
from covpool.service.schemas.answers import BottleneckPage as BottleneckPage
from covpool.service.schemas.answers import Embedding as Embedding
from covpool.service.schemas.answers import EmbeddingResponse as EmbeddingResponse
from covpool.service.schemas.answers import Gene as Gene
from covpool.service.schemas.answers import GenePage as GenePage
from covpool.service.schemas.answers import Genome as Genome
from covpool.service.schemas.answers import GenomePage as GenomePage
from covpool.service.schemas.answers import Health as Health
from covpool.service.schemas.answers import IndexEntry as IndexEntry
from covpool.service.schemas.answers import IndexPage as IndexPage
from covpool.service.schemas.answers import Job as Job
from covpool.service.schemas.answers import JobPage as JobPage
from covpool.service.schemas.answers import JobProgress as JobProgress
from covpool.service.schemas.answers import JobRecord as JobRecord
from covpool.service.schemas.answers import Layer as Layer
from covpool.service.schemas.answers import Model as Model
from covpool.service.schemas.answers import ModelPage as ModelPage
from covpool.service.schemas.answers import Problem as Problem
from covpool.service.schemas.answers import Repair as Repair
from covpool.service.schemas.answers import Usage as Usage
from covpool.service.schemas.requests import BottleneckRequest as BottleneckRequest
from covpool.service.schemas.requests import EmbeddingRequest as EmbeddingRequest
from covpool.service.schemas.requests import ExtractionOptions as ExtractionOptions
from covpool.service.schemas.requests import GenomeRequest as GenomeRequest
from covpool.service.schemas.requests import JobRequest as JobRequest
from covpool.service.schemas.requests import ModelOptions as ModelOptions
from covpool.service.schemas.requests import MomentsRequest as MomentsRequest
from covpool.service.schemas.wire import MOMENTS_STREAM as MOMENTS_STREAM
from covpool.service.schemas.wire import MOST_KEYS as MOST_KEYS
from covpool.service.schemas.wire import NPY as NPY
from covpool.service.schemas.wire import PROBLEM as PROBLEM
from covpool.service.schemas.wire import SAFETENSORS as SAFETENSORS
from covpool.service.schemas.wire import STORED as STORED
from covpool.service.schemas.wire import Priority as Priority
from covpool.service.schemas.wire import RecordState as RecordState
from covpool.service.schemas.wire import State as State
from covpool.service.schemas.wire import Strand as Strand
