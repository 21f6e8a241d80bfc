"""Server reflection, so that `buf curl` and `grpcurl` work without the proto files.

Answers under its v1 name and under v1alpha, which older tools ask for. The library only has
v1alpha; the two versions differ in nothing but the package name.
"""

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

SERVICE_NAME_V1 = "grpc.reflection.v1.ServerReflection"


def add_reflection(server: grpc.aio.Server, *service_names: str) -> None:
    """Make the server list and describe the named services, and reflection itself."""
    # The v1 name is served but not listed: its descriptor does not exist here to be described.
    names = (*service_names, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    servicer = reflection.aio.ReflectionServicer(names)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE_NAME_V1, methods),)
    )
