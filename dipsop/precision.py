"""What number format the network computes in; u, v and the losses stay float32 whatever it is."""

import torch

from dipsop.dtype import Dtype


def resolved_dtype(device: torch.device, dtype: Dtype) -> torch.dtype:
    """Return bfloat16 where asked for, or under "auto" where the device multiplies it natively; else float32."""
    if dtype == "auto":
        return torch.bfloat16 if _native_bfloat16(device) else torch.float32
    return torch.bfloat16 if dtype == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: Dtype) -> torch.autocast:
    """Autocast of the network under `dtype`; nothing at all in float32."""
    resolved = resolved_dtype(device, dtype)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=resolved is torch.bfloat16)


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # A processor without the instruction emulates it, slower than float32.
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
