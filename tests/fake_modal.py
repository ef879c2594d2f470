"""A Modal control plane on loopback, for running the unmodified `modal` client without an account.

Written from the protobuf definitions inside the `modal` wheel.  The client talks real gRPC to it, and user code runs in
a real `python -m modal._container_entrypoint` process, so serialisation, blobs, errors and the requests for images,
GPUs and volumes are those of the installed client.  Images are recorded, not built; volumes and GPUs do not exist.

    with serve(pythonpath=[...]) as fake: ...      # MODAL_* is set for this process meanwhile
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpclib.server
from aiohttp import web
from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_grpc
from modal_proto import api_pb2 as api

SUCCESS = api.GenericResult(status=api.GenericResult.GENERIC_STATUS_SUCCESS)
DIED = api.GenericResult(status=api.GenericResult.GENERIC_STATUS_FAILURE, exception="the container ended")
TIMED_OUT = api.GenericResult(status=api.GenericResult.GENERIC_STATUS_TIMEOUT, exception="the call ran past its limit")


@dataclass
class Call:
    """One input of a function call."""

    function_id: str
    call_id: str
    index: int
    input: api.FunctionInput


@dataclass
class Function:
    """A registered function, its waiting inputs, and the process that serves them."""

    app_id: str
    definition: api.Function
    ranked: list[api.Function] = field(default_factory=list)  # one for each kind of GPU that was named
    waiting: asyncio.Queue = field(default_factory=asyncio.Queue)
    process: subprocess.Popen | None = None
    serving: str = ""  # id of the input in its hands
    deadline: float = 0  # when that input has run too long


class FakeModal(api_grpc.ModalClientBase):
    """One method for each request that the client makes here; any other is refused and recorded in `refused`."""

    def __init__(self, pythonpath):
        self.pythonpath = [str(p) for p in pythonpath]
        self.functions: dict[str, Function] = {}
        self.images: dict[str, api.Image] = {}
        self.volumes: dict[str, str] = {}  # name -> id
        self.secrets: dict[str, str] = {"hub": "st-1"}  # name -> id
        self.layouts: dict[str, api.AppLayout] = {}
        self.calls: dict[str, Call] = {}
        self.outputs: dict[str, list] = defaultdict(list)
        self.changed, self.stop = asyncio.Condition(), asyncio.Event()
        self.refused: list[str] = []
        self.container_count = 0
        self.watches: list[asyncio.Task] = []
        self.folder = tempfile.TemporaryDirectory(prefix="fake-modal-")
        self.blobs: dict[str, bytes] = {}
        self.url = self.blob_url = self.container_url = ""
        self._ids = 0

    def new(self, prefix):
        self._ids += 1
        return f"{prefix}-{self._ids}"

    # ---- session

    async def ClientHello(self, stream):
        await stream.recv_message()
        await stream.send_message(api.ClientHelloResponse())

    async def AuthTokenGet(self, stream):
        await stream.recv_message()
        parts = ({"alg": "none"}, {"exp": time.time() + 1e6})
        token = ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts)
        await stream.send_message(api.AuthTokenGetResponse(token=f"{token}.x"))

    async def EnvironmentGetOrCreate(self, stream):
        await stream.recv_message()
        settings = api.EnvironmentSettings(image_builder_version="2025.06")
        metadata = api.EnvironmentMetadata(name="main", settings=settings)
        await stream.send_message(api.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata))

    # ---- app

    async def AppCreate(self, stream):
        await stream.recv_message()
        app = self.new("ap")
        self.layouts[app] = api.AppLayout()
        await stream.send_message(api.AppCreateResponse(app_id=app, app_page_url="http://127.0.0.1/app"))

    async def AppPublish(self, stream):
        request = await stream.recv_message()
        layout = self.layouts[request.app_id]
        for name, function_id in request.function_ids.items():
            layout.function_ids[name] = function_id
            layout.objects.add(object_id=function_id, function_handle_metadata=self._handle(function_id))
        for image in self.images:
            layout.objects.add(object_id=image)
        for volume in self.volumes.values():
            layout.objects.add(object_id=volume, volume_metadata=api.VolumeMetadata(version=1))
        await stream.send_message(api.AppPublishResponse(url="http://127.0.0.1/app"))

    async def AppHeartbeat(self, stream):
        await stream.recv_message()
        await stream.send_message(Empty())

    async def AppClientDisconnect(self, stream):
        request = await stream.recv_message()
        for function in self.functions.values():
            if function.app_id == request.app_id:
                await self._end(function)
        await stream.send_message(Empty())

    # ---- image, mount, volume

    async def ImageGetOrCreate(self, stream):
        request = await stream.recv_message()
        image = self.new("im")
        self.images[image] = request.image
        metadata = api.ImageMetadata(image_builder_version=request.builder_version)
        await stream.send_message(api.ImageGetOrCreateResponse(image_id=image, result=SUCCESS, metadata=metadata))

    async def MountGetOrCreate(self, stream):
        await stream.recv_message()
        metadata = api.MountHandleMetadata(content_checksum_sha256_hex="0" * 64)
        await stream.send_message(api.MountGetOrCreateResponse(mount_id=self.new("mo"), handle_metadata=metadata))

    async def MountPutFile(self, stream):
        await stream.recv_message()
        await stream.send_message(api.MountPutFileResponse(exists=True))

    async def MountBatchedCheckExistence(self, stream):
        await stream.recv_message()
        await stream.send_message(api.MountBatchedCheckExistenceResponse())

    async def VolumeGetOrCreate(self, stream):
        request = await stream.recv_message()
        name = request.deployment_name
        volume = self.volumes.setdefault(name, self.new("vo"))
        metadata = api.VolumeMetadata(version=1, name=name)
        await stream.send_message(api.VolumeGetOrCreateResponse(volume_id=volume, version=1, metadata=metadata))

    async def SecretGetOrCreate(self, stream):
        request = await stream.recv_message()
        if request.deployment_name not in self.secrets:
            raise GRPCError(Status.NOT_FOUND, f"Secret '{request.deployment_name}' not found")
        await stream.send_message(api.SecretGetOrCreateResponse(secret_id=self.secrets[request.deployment_name]))

    async def VolumeCommit(self, stream):
        await stream.recv_message()
        await stream.send_message(api.VolumeCommitResponse(skip_reload=True))

    # ---- functions

    def _handle(self, function_id):
        function = self.functions[function_id]
        definition = function.definition
        return api.FunctionHandleMetadata(
            function_name=definition.function_name,
            function_type=definition.function_type,
            definition_id=f"de-{function_id}",
            function_schema=definition.function_schema,
            app_id=function.app_id,
            supported_input_formats=definition.supported_input_formats,
            supported_output_formats=definition.supported_output_formats,
        )

    async def FunctionPrecreate(self, stream):
        request = await stream.recv_message()
        function_id = self.new("fu")
        definition = api.Function(function_name=request.function_name, function_type=request.function_type)
        self.functions[function_id] = Function(request.app_id, definition)
        handle = self._handle(function_id)
        await stream.send_message(api.FunctionPrecreateResponse(function_id=function_id, handle_metadata=handle))

    async def FunctionCreate(self, stream):
        request = await stream.recv_message()
        ranked = [each.function for each in request.function_data.ranked_functions] or [request.function]  # several: a list of GPUs
        function_id, definition = request.existing_function_id, ranked[0]
        self.functions[function_id].definition, self.functions[function_id].ranked = definition, ranked
        data = api.FunctionData(
            function_name=definition.function_name,
            function_type=definition.function_type,
            timeout_secs=definition.timeout_secs,
        )
        for rank, each in enumerate(ranked):
            data.ranked_functions.add(rank=rank, function=each)
        handle = self._handle(function_id)
        await stream.send_message(
            api.FunctionCreateResponse(function_id=function_id, handle_metadata=handle, function_data=data)
        )

    async def FunctionMap(self, stream):
        request = await stream.recv_message()
        call_id = self.new("fc")
        queued = [self._enqueue(request.function_id, call_id, item) for item in request.pipelined_inputs]
        await stream.send_message(api.FunctionMapResponse(function_call_id=call_id, pipelined_inputs=queued))

    def _enqueue(self, function_id, call_id, item):
        input_id = self.new("in")
        self.calls[input_id] = Call(function_id, call_id, item.idx, item.input)
        self.functions[function_id].waiting.put_nowait(input_id)
        self._ensure_container(function_id)
        return api.FunctionPutInputsResponseItem(idx=item.idx, input_id=input_id, input_jwt=input_id)

    async def FunctionGetOutputs(self, stream):
        request = await stream.recv_message()
        outputs = self.outputs[request.function_call_id]
        async with self.changed:
            try:
                await asyncio.wait_for(self.changed.wait_for(lambda: outputs), request.timeout)
            except TimeoutError:
                pass
        await stream.send_message(api.FunctionGetOutputsResponse(outputs=outputs, last_entry_id="1-0"))

    async def _finish(self, function, input_id, result, data_format=api.DATA_FORMAT_PICKLE):
        call = self.calls[input_id]
        if function.serving == input_id:
            function.serving = ""
        item = api.FunctionGetOutputsItem(result=result, idx=call.index, input_id=input_id, data_format=data_format)
        async with self.changed:
            self.outputs[call.call_id].append(item)
            self.changed.notify_all()

    async def _end(self, function):
        """Fail what waits and end the container; what it has in hand fails when its end is seen."""
        while not function.waiting.empty():
            await self._finish(function, function.waiting.get_nowait(), DIED)
        if function.process:
            function.process.kill()

    # ---- the container's side

    def _ensure_container(self, function_id):
        function = self.functions[function_id]
        if function.process and function.process.poll() is None:
            return
        self.container_count += 1
        arguments = api.ContainerArguments(
            task_id=self.new("ta"),
            function_id=function_id,
            app_id=function.app_id,
            function_def=function.definition,
            app_layout=self.layouts[function.app_id],
            environment_name="main",
        )
        file = Path(self.folder.name, f"{arguments.task_id}.bin")
        file.write_bytes(arguments.SerializeToString())
        command = [sys.executable, "-m", "modal._container_entrypoint"]
        function.process = subprocess.Popen(command, env=self._container_env(arguments.task_id, file), cwd=file.parent)
        self.watches.append(asyncio.create_task(self._watch(function_id, function.process)))

    def _container_env(self, task_id, arguments_file):
        env = {k: v for k, v in os.environ.items() if not k.startswith("MODAL_")}
        return env | {
            "MODAL_SERVER_URL": self.container_url,
            "MODAL_TASK_ID": task_id,
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(arguments_file),
            "MODAL_IS_REMOTE": "1",
            "MODAL_ENVIRONMENT": "main",
            "MODAL_IMAGE_ID": "im-1",
            "PYTHONPATH": os.pathsep.join(self.pythonpath),
        }

    async def _watch(self, function_id, process):
        """End a process whose call runs too long; when it has ended, fail the call in its hands and start a new one."""
        function = self.functions[function_id]
        while process.poll() is None:
            if function.serving and time.monotonic() > function.deadline:
                await self._finish(function, function.serving, TIMED_OUT)
                process.kill()
            await asyncio.sleep(0.02)
        if function.serving:
            await self._finish(function, function.serving, DIED)
        if not function.waiting.empty():
            self._ensure_container(function_id)

    async def ContainerHello(self, stream):
        await stream.recv_message()
        await stream.send_message(Empty())

    async def ContainerHeartbeat(self, stream):
        await stream.recv_message()
        await stream.send_message(api.ContainerHeartbeatResponse())

    async def FunctionGetInputs(self, stream):
        request = await stream.recv_message()
        function = self.functions[request.function_id]
        try:
            input_id = await asyncio.wait_for(function.waiting.get(), 5)
        except TimeoutError:
            await stream.send_message(api.FunctionGetInputsResponse())
            return
        function.serving = input_id
        function.deadline = time.monotonic() + function.definition.timeout_secs
        call = self.calls[input_id]
        item = api.FunctionGetInputsItem(
            input_id=input_id,
            input=call.input,
            function_call_id=call.call_id,
            function_map_idx=call.index,
            function_call_invocation_type=api.FUNCTION_CALL_INVOCATION_TYPE_SYNC,
        )
        await stream.send_message(api.FunctionGetInputsResponse(inputs=[item]))

    async def FunctionPutOutputs(self, stream):
        request = await stream.recv_message()
        for output in request.outputs:
            function = self.functions[self.calls[output.input_id].function_id]
            if function.serving == output.input_id:  # else it came after its time
                await self._finish(function, output.input_id, output.result, output.data_format)
        await stream.send_message(Empty())

    async def TaskResult(self, stream):
        await stream.recv_message()
        await stream.send_message(Empty())

    async def TaskCurrentInputs(self, stream):
        await stream.recv_message()
        await stream.send_message(api.TaskCurrentInputsResponse())

    # ---- blobs: payloads over 2 MiB go by HTTP

    async def BlobCreate(self, stream):
        await stream.recv_message()
        blob = self.new("bl")
        urls = api.UploadUrlList(items=[f"{self.blob_url}/{blob}"])
        await stream.send_message(api.BlobCreateResponse(blob_ids=[blob], upload_urls=urls))

    async def BlobGet(self, stream):
        request = await stream.recv_message()
        await stream.send_message(api.BlobGetResponse(download_url=f"{self.blob_url}/{request.blob_id}"))

    async def put_blob(self, request):
        body = self.blobs[request.match_info["blob"]] = await request.read()
        return web.Response(headers={"ETag": hashlib.md5(body).hexdigest()})

    async def get_blob(self, request):
        return web.Response(body=self.blobs[request.match_info["blob"]])


def _refuse(name):
    async def method(self, stream):
        self.refused.append(name)
        raise GRPCError(Status.UNIMPLEMENTED, f"{name} is not in the fake Modal server")

    return method


for _name in FakeModal.__abstractmethods__:
    setattr(FakeModal, _name, _refuse(_name))
FakeModal.__abstractmethods__ = frozenset()


@contextmanager
def serve(pythonpath=()):
    """A running server for this process's `modal` client; `pythonpath` is what the containers can import."""
    ready, fake = threading.Event(), FakeModal(pythonpath)
    thread = threading.Thread(target=lambda: asyncio.run(_serve(fake, ready)), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        with _client_environment(fake):
            yield fake
    finally:
        fake.loop.call_soon_threadsafe(fake.stop.set)
        thread.join(10)
        fake.folder.cleanup()


class Server(grpclib.server.Server):
    """A grpclib server that knows its connections, to close them."""

    def _protocol_factory(self):
        self.protocols = [*getattr(self, "protocols", ()), super()._protocol_factory()]
        return self.protocols[-1]


async def _serve(fake, ready):
    from modal._utils.grpc_utils import custom_detail_codec

    for_client, for_containers = (Server([fake], status_details_codec=custom_detail_codec) for _ in "12")
    blobs = web.Application(client_max_size=1 << 30)
    blobs.router.add_put("/{blob}", fake.put_blob)
    blobs.router.add_get("/{blob}", fake.get_blob)
    runner = web.AppRunner(blobs)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.blob_url = "http://{}:{}".format(*runner.addresses[0])
    await for_client.start("127.0.0.1", 0)
    fake.url = "http://{}:{}".format(*for_client._server.sockets[0].getsockname())
    socket = f"{fake.folder.name}/socket"
    await for_containers.start(path=socket)
    fake.container_url = f"unix://{socket}"
    fake.loop = asyncio.get_running_loop()
    ready.set()
    await fake.stop.wait()
    for function in fake.functions.values():
        await fake._end(function)
    await asyncio.gather(*fake.watches)
    for server in (for_client, for_containers):
        server.close()
        for protocol in server.protocols:
            if protocol.connection:  # the client keeps its end open for as long as its process lives
                protocol.connection.close()
        await server.wait_closed()
    await runner.cleanup()


@contextmanager
def _client_environment(fake):
    from modal.client import Client

    forget = getattr(Client, "_set_env_client", None) or Client.set_env_client
    saved = dict(os.environ)
    os.environ |= {
        "MODAL_SERVER_URL": fake.url,
        "MODAL_TOKEN_ID": "ak-test",
        "MODAL_TOKEN_SECRET": "as-test",
        "MODAL_ENVIRONMENT": "main",
    }
    forget(None)  # the client is kept per process, with the port of an earlier server
    try:
        yield
    finally:
        forget(None)
        os.environ.clear()
        os.environ |= saved
