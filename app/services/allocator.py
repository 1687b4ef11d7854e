"""Keeps the memory of large tensors from going back to the system after every call."""

import ctypes
import logging
import platform

logger = logging.getLogger(__name__)

# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8

# By default glibc maps every block over 32 MB afresh, and page by page the kernel fills it with zeros: half the
# time of an EfficientNet batch. One arena, because those of other threads cannot hold blocks over 64 MB.
SETTINGS = {
    M_MMAP_THRESHOLD: 2**30,
    M_TRIM_THRESHOLD: 2**29,  # what is free beyond 512 MB still goes back
    M_TOP_PAD: 2**26,
    M_ARENA_MAX: 1,
}


def keep_large_blocks() -> bool:
    """For the whole process, before models are loaded; whether it could be set (only glibc has these settings)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = all(mallopt(parameter, value) == 1 for parameter, value in SETTINGS.items())
    logger.debug("glibc keeps large blocks: %s", done)
    return done
