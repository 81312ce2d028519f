"""The engines of one model on one machine: looked up, verified, put aside where they do not fit, built once instead.

An engine is run only where its manifest fits TensorRT's version, the GPU, the model and the shapes, and its bytes have the manifest's hash.
What does not is renamed (.rejected, the last one is kept) and never loaded.
"""

from __future__ import annotations

import fcntl
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..model.folder import ModelFolder, file_facts
from ..model.graphs import graph_specs
from .base import cache_folder
from .engine_build import BuildRequest, Progress, build_engine, manifest_path
from .engine_manifest import EngineError, EngineManifest, mismatch, read_manifest
from .engine_profiles import Shapes, encoder_profiles, language_profiles
from .gpu import Gpu
from .tensorrt_flavor import Flavor

logger = logging.getLogger(__name__)

LLAMA = "llama"  # the language model among the graphs' names
LANGUAGE_ROLE = "tensorrt"  # of its graph in the manifest: typed halves, int4 weights that are dequantised, plain attention


def default_root(folder: ModelFolder, flavor: Flavor, gpu: Gpu | None) -> Path:
    """Where engines lie unless a folder is given: below XDG_CACHE_HOME, apart by model, TensorRT and GPU."""
    where = f"{gpu.name}-{gpu.capability}" if gpu else "any-gpu"
    return cache_folder() / "engines" / folder.model_id / re.sub(r"[^\w.@-]+", "-", f"{flavor.name}-{flavor.version}-{where}")


class EngineCache:
    """`root` holds GRAPH.engine and GRAPH.engine.json. Several processes may share it: who builds holds a lock."""

    def __init__(
        self, folder: ModelFolder, flavor: Flavor, gpu: Gpu | None, root: Path, *, memory_mb: float | None = None, workspace_mb: int = 0
    ) -> None:
        if gpu is None and not flavor.is_rtx:
            raise EngineError(
                f"{flavor.name} {flavor.version} builds for the GPU it sees, and there is none here; "
                "build on the machine that will run it, or use --flavor tensorrt_rtx"
            )
        self.folder, self.flavor, self.gpu, self.root = folder, flavor, gpu, root
        self._memory_mb, self._workspace_mb = memory_mb, workspace_mb
        self._specs = graph_specs(folder.preset)
        self._verified: dict[str, tuple[int, int]] = {}  # graph → size and time of the file whose bytes were hashed: a 7B takes seconds

    @property
    def graphs(self) -> list[str]:
        """Every graph there can be an engine of."""
        return [*self._specs, *([LLAMA] if LANGUAGE_ROLE in self.folder.manifest.language else [])]

    def engine(self, graph: str) -> Path:
        return self.root / f"{graph}.engine"

    def source(self, graph: str) -> Path:
        """The ONNX file. EngineError for an unknown graph, with the known ones."""
        if graph == LLAMA and LANGUAGE_ROLE not in self.folder.manifest.language:
            raise EngineError(
                f"{self.folder.root} has no language model in the form TensorRT takes; write it: python -m export.quantize_llama --help"
            )
        if graph not in self.graphs:
            raise EngineError(f"no graph {graph!r} in {self.folder.root}; choose {', '.join(self.graphs)}")
        return self.folder.language(LANGUAGE_ROLE) if graph == LLAMA else self.folder.graph(graph)

    def wanted(self, graph: str) -> EngineManifest:
        """The manifest an engine of this graph must have here."""
        source = self.source(graph).relative_to(self.folder.root).as_posix()
        return EngineManifest(
            graph=graph,
            flavor=self.flavor.name,
            tensorrt=self.flavor.version,
            gpu=self.gpu.name if self.gpu else "",
            capability=self.gpu.capability if self.gpu else "",
            driver=self.gpu.driver if self.gpu else "",
            model_id=self.folder.model_id,
            source_sha256=str(self.folder.manifest.files[source]["sha256"]),
            profiles=self._profiles(graph),
        )

    def _profiles(self, graph: str) -> tuple[Shapes, ...]:
        return language_profiles(self.folder.preset.llama) if graph == LLAMA else encoder_profiles(self._specs[graph], self.folder.preset)

    def find(self, graph: str) -> EngineManifest | None:
        """The manifest of an engine that may be run; None where there is none. One that may not be run is put aside."""
        path = self.engine(graph)
        if not path.exists():
            return None
        reason = self._fault(graph, path)
        if not reason:
            return read_manifest(manifest_path(path))
        self.put_aside(graph, reason)
        return None

    def _fault(self, graph: str, path: Path) -> str:
        try:
            found = read_manifest(manifest_path(path))
        except EngineError as error:
            return str(error)
        if reason := mismatch(found, self.wanted(graph), self.gpu):
            return reason
        now = path.stat()
        if self._verified.get(graph) != (now.st_size, now.st_mtime_ns) and file_facts(path)["sha256"] != found.engine_sha256:
            return "its bytes are not those that were built"
        self._verified[graph] = (now.st_size, now.st_mtime_ns)
        return ""

    def put_aside(self, graph: str, reason: str) -> None:
        """Never to be loaded again; kept under another name for whoever wants to look."""
        path = self.engine(graph)
        rejected = path.with_name(f"{path.name}.rejected")
        path.replace(rejected)
        manifest_path(path).unlink(missing_ok=True)
        logger.warning("engine %s is not used: %s; it is put aside as %s and built again", path, reason, rejected.name)

    def obtain(self, graph: str, progress: Progress = lambda share, text: None, *, again: bool = False) -> tuple[EngineManifest, bool]:
        """An engine that may be run, and whether it was built now. EngineError where it cannot be built."""
        with self._lock():
            found = None if again else self.find(graph)
            if found is not None:
                return found, False
            wanted = self.wanted(graph)
            timings = self.root / "timing.cache"
            request = BuildRequest(self.source(graph), self.engine(graph), wanted, wanted.capability, self._workspace_mb, timings)
            return build_engine(request, memory_mb=self._memory_mb, progress=progress), True

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            stream = (self.root / ".lock").open("w", encoding="utf-8")
        except OSError as error:
            raise EngineError(f"engines cannot be written to {self.root} ({error}); set model.engines to a folder that can be") from error
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
