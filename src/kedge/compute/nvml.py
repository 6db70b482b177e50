"""How busy and how full GPUs are, as NVIDIA's driver says through its own library; nothing where there is none."""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Sequence

from kedge.compute.used import GpuUsage

LIBRARY = "libnvidia-ml.so.1"

log = logging.getLogger(__name__)


class _Rates(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpu_usage(indices: Sequence[int], library: str = LIBRARY) -> tuple[GpuUsage, ...]:
    """Of those GPUs; without the ones that the driver says nothing of."""
    if not indices or (driver := _driver(library)) is None:
        return ()
    found = (_usage(driver, index) for index in indices)
    return tuple(each for each in found if each is not None)


@functools.cache
def _driver(library: str) -> ctypes.CDLL | None:
    try:
        driver = ctypes.CDLL(library)
        if driver.nvmlInit_v2() != 0:
            raise OSError("it cannot be initialised")
    except (OSError, AttributeError) as error:
        log.warning("GPUs are not measured: %s", error)
        return None
    return driver


def _usage(driver: ctypes.CDLL, index: int) -> GpuUsage | None:
    """Every function returns 0 when it could. Source: NVML API reference."""
    device, rates, memory = ctypes.c_void_p(), _Rates(), _Memory()
    if (
        driver.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device))
        or driver.nvmlDeviceGetUtilizationRates(device, ctypes.byref(rates))
        or driver.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))
    ):
        return None
    return GpuUsage(index, rates.gpu / 100, memory.used / max(1, memory.total))
