"""Methods on a whole data set: a run that can be stopped, its rows, and what they conclude."""

from captum_guided_ext.benchmarking._benchmark import benchmark
from captum_guided_ext.benchmarking._benchmark_result import Benchmark
from captum_guided_ext.benchmarking._processes import local_rank
from captum_guided_ext.benchmarking._summarize import summarize

__all__ = ["Benchmark", "benchmark", "local_rank", "summarize"]
