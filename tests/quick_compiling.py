"""On import, before JAX: programs compile sooner, and run slower, which is little of a test."""

import importlib.metadata
import os

# Unoptimised code is compiled faster than optimised code saves; so are fusions by the older of two
# ways, where jaxlib still has it: a third of the time. A program in one piece saves another tenth.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    * importlib.metadata.version("jaxlib").startswith("0.10."),
)
