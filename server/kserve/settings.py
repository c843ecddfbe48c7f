"""Trace and log settings as clients ask for them: what is, told; changes, refused by name.

Called by `server.kserve.service`. The server's log is set up when it starts (--log-level,
--log-format), and it writes no traces of single requests: every answer carries its report.
"""

from __future__ import annotations

from mattestream.kserve.v2 import control_pb2
from server.kserve.errors import NotSupported

_TRACE = {
    "trace_level": "OFF",
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}


def trace_settings(
    request: control_pb2.TraceSettingRequest,
) -> control_pb2.TraceSettingResponse:
    """Settings as they are.

    Raises:
        NotSupported: one shall become something else.
    """
    for name, wanted in request.settings.items():
        values = list(wanted.value)
        if values and values != [_TRACE.get(name)]:
            raise NotSupported(
                f"trace setting '{name}' cannot be changed: this server writes no traces, the "
                "output 'report' of a pipeline tells how long each stage took"
            )
    response = control_pb2.TraceSettingResponse()
    for name, value in _TRACE.items():
        response.settings[name].value.append(value)
    return response


def log_settings(
    request: control_pb2.LogSettingsRequest, level: str
) -> control_pb2.LogSettingsResponse:
    """Settings as they are.

    Args:
        request: as it came.
        level: the server's log level, "info".

    Raises:
        NotSupported: one shall become something else.
    """
    now: dict[str, bool | int | str] = {
        "log_file": "",
        "log_info": level in {"debug", "info"},
        "log_warning": level != "error",
        "log_error": True,
        "log_verbose_level": int(level == "debug"),
        "log_format": "default",
    }
    for name, wanted in request.settings.items():
        kind = wanted.WhichOneof("parameter_choice")
        if kind is not None and getattr(wanted, kind) != now.get(name):
            raise NotSupported(
                f"log setting '{name}' cannot be changed while the server runs: start it with "
                "another --log-level or --log-format"
            )
    response = control_pb2.LogSettingsResponse()
    for name, value in now.items():
        setting = response.settings[name]
        if isinstance(value, bool):
            setting.bool_param = value
        elif isinstance(value, int):
            setting.uint32_param = value
        else:
            setting.string_param = value
    return response
