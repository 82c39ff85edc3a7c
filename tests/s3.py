"""A real S3-compatible server for tests: moto's server mode, a process of its own, spoken to over HTTP."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import boto3
import httpx
from obstore.store import S3Store

START_S = 60.0
_KEYS = {"aws_access_key_id": "covpool", "aws_secret_access_key": "covpool-secret"}


@dataclass(frozen=True)
class S3Server:
    """A running server and the credentials it is spoken to with."""

    endpoint: str
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        settings = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "covpool",
            "AWS_SECRET_ACCESS_KEY": "covpool-secret",
        }
        object.__setattr__(self, "environment", settings)

    def new_bucket(self) -> str:
        """Create a bucket; returns its name."""
        name = f"test-{uuid4().hex}"
        httpx.put(f"{self.endpoint}/{name}").raise_for_status()
        return name

    def objects(self, bucket: str) -> S3Store:
        """The objects of one bucket, past covpool."""
        return S3Store.from_url(
            f"s3://{bucket}",
            endpoint=self.endpoint,
            access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            client_options={"allow_http": True},
        )

    @contextmanager
    def closed_to_strangers(self) -> Iterator[None]:
        """Within, requests are refused unless they bear credentials the server knows; it knows none."""
        self._check_credentials_after("0")
        try:
            yield
        finally:
            self._check_credentials_after("inf")

    @contextmanager
    def for_readers(self, bucket: str) -> Iterator[dict[str, str]]:
        """Within, requests are checked; the credentials, as variables, may get and list and nothing else."""
        iam = boto3.client("iam", endpoint_url=self.endpoint, region_name="us-east-1", **_KEYS)
        statement = {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.create_user(UserName=bucket)
        iam.put_user_policy(UserName=bucket, PolicyName="reads", PolicyDocument=policy)
        key = iam.create_access_key(UserName=bucket)["AccessKey"]
        self._check_credentials_after("0")
        try:
            yield {
                "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            }
        finally:
            self._check_credentials_after("inf")

    def _check_credentials_after(self, requests: str) -> None:
        httpx.post(f"{self.endpoint}/moto-api/reset-auth", content=requests).raise_for_status()


@contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    """A server on a free port, gone afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (directory / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    with process:
        try:
            server = S3Server(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + START_S
            while not _answers(server.endpoint):
                running = process.poll() is None
                assert running and time.monotonic() < deadline, (directory / "s3.log").read_text()
                time.sleep(0.05)
            yield server
        finally:
            process.kill()


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(f"{endpoint}/moto-api/").is_success
    except httpx.TransportError:
        return False
