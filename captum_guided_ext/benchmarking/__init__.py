"""Methods on a whole data set: a run that can be stopped, its rows, and what they conclude."""

from captum_guided_ext.benchmarking._benchmark import benchmark
from captum_guided_ext.benchmarking._benchmark_result import Benchmark
from captum_guided_ext.benchmarking._collected import Collected as Collected
from captum_guided_ext.benchmarking._collected import collect as collect
from captum_guided_ext.benchmarking._processes import local_rank
from captum_guided_ext.benchmarking._records import BatchRecord as BatchRecord
from captum_guided_ext.benchmarking._records import ScoredImage as ScoredImage
from captum_guided_ext.benchmarking._records import SkippedImage as SkippedImage
from captum_guided_ext.benchmarking._run import Run as Run
from captum_guided_ext.benchmarking._scores import Scores as Scores
from captum_guided_ext.benchmarking._scores import Series as Series
from captum_guided_ext.benchmarking._summarize import summarize
from captum_guided_ext.benchmarking._visit import visit as visit

# Names in ``__all__`` are for users; the others, for the rooms above.
__all__ = ["Benchmark", "benchmark", "local_rank", "summarize"]
