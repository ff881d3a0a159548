"""The only module that knows MLflow: one run per volume, written by the driver alone.

    <folder of the result>/mlruns.db      runs, metrics, model registry (SQLite), unless a tracking URI is given
    <folder of the result>/mlruns/        artifacts: config/ stats/ tiles/ qa/ images/ weights/ report/
    ~/.ilcore/mlruns.db                   the same for results in an object store

Workers return rows; the driver logs them in batches and as one table, never as a run per tile.
"""

import importlib.metadata
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard
from urllib.parse import quote

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from sqlalchemy.exc import SQLAlchemyError

from ilcore.adapting.weights import sha256_of
from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadWeights, TrackingError
from ilcore.stores.places import Place, at_hand
from tasks.environment.machine import own_folder
from tasks.tracking.champions import Registered, cache_folder, remember_champion

EXPERIMENT = "ilcore"
#: The registered model that `adapt` starts from, and the alias of its version in use.
DENOISER, CHAMPION = "il-blind-denoiser", "champion"
#: MLflow refuses larger batches, longer values and longer digests.
BATCH, LONGEST_PARAM, LONGEST_DIGEST, LONGEST_TAG = 1000, 6000, 36, 5000
FINGERPRINT, TARGET = "il.fingerprint", "il.target"
#: Where a run says what was installed.
ENVIRONMENT = "config/environment.txt"
#: Seconds that a server may take to say whether it is there.
PATIENCE_SECONDS = 10
#: Of runs that belong to a night over an archive: which night, and what was left out for want of time.
NIGHT, DEGRADED = "il.night", "il.degraded"


@dataclass(frozen=True, kw_only=True)
class VolumeRun:
    """Which volume a run is about.

    Args:
        name: What people see, such as tomo-adapted-2026-11-23-1f3a9c2b.
        fingerprint: Hash of the plan; an unfinished run of the same plan and target is taken up again.
        digest: Content digest of the source.
    """

    name: str
    source: str
    target: str
    fingerprint: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What goes into a run.

    Args:
        curves: Name -> (step, value) pairs.
        tables: Artifact path ending in .json -> rows.
        texts: Artifact path -> content.
        files: File -> artifact folder.
    """

    params: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] | Mapping[Place, str] = field(default_factory=dict)


def tracking_uri(target: str, given: str | None = None) -> str:
    """Return where runs are kept: as given, as the environment says, or a SQLite file beside the result."""
    chosen = given or os.environ.get("MLFLOW_TRACKING_URI")
    if chosen:
        return chosen
    folder = own_folder() if "://" in target else Path(target).absolute().parent
    return f"sqlite:///{folder / 'mlruns.db'}"


def is_there(uri: str) -> bool:
    """Tell whether runs have been kept there before, without making anything; a server is taken to be there."""
    database = _sqlite_file(uri)
    return database is None or database.is_file()


class Tracker:
    """A place to record runs. The database exists once this does, so nobody else migrates it at the same time."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with _understood(uri), _first_touch(uri):
            _check_answers(uri)
            self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self._experiments = {EXPERIMENT: self.experiment(EXPERIMENT)}

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, made on first use with its artifacts beside a local database."""
        database = _sqlite_file(self.uri)
        artifacts = None if database is None else (database.parent / "mlruns").as_uri()
        if self.client.get_experiment_by_name(name) is None:
            _unless_another(lambda: self.client.create_experiment(name, artifact_location=artifacts))
        found: Any = self.client.get_experiment_by_name(name)
        return str(found.experiment_id)

    def begin(self, volume: VolumeRun, sheet: Sheet, at: int | None = None) -> str:
        """Start the run of a volume, or take up the unfinished one, and return its id.

        Args:
            volume: What the run is about, and how it is found again.
            sheet: What is known of it.
            at: When it was begun, in ms since 1970; now if left out.
        """
        with _understood(self.uri):
            unfinished = self._unfinished(volume)
            if unfinished is not None:
                self.client.update_run(unfinished, status="RUNNING")
                # One that stopped half-way through its beginning has no parameters yet; written, they never change.
                is_whole = bool(self.client.get_run(unfinished).data.params)
                self.note(unfinished, Sheet(tags=sheet.tags) if is_whole else sheet, at=at)
                return unfinished
            tags = {FINGERPRINT: volume.fingerprint, TARGET: volume.target, "il.source": volume.source}
            run = self.client.create_run(
                self._experiments[EXPERIMENT], run_name=volume.name, start_time=at,
                tags={**tags, "il.source_digest": volume.digest},
            )  # fmt: skip
            self._log_input(str(run.info.run_id), volume)
            self.note(run.info.run_id, replace(sheet, texts={ENVIRONMENT: environment_lock(), **sheet.texts}), at=at)
            return str(run.info.run_id)

    def _log_input(self, run_id: str, volume: VolumeRun) -> None:
        try:
            self.client.log_inputs(run_id, [_dataset(volume)])
        except MlflowException:
            # Another flow made the record of the same source at the same moment: now it is there.
            self.client.log_inputs(run_id, [_dataset(volume)])

    def last(self, volume: VolumeRun) -> str | None:
        """Return the id of the newest run of this very plan and target; None where there is none."""
        with _understood(self.uri):
            return self._newest(volume, "")

    def note(self, run_id: str, sheet: Sheet, at: int | None = None) -> None:
        """Add a sheet to a run, as of a time in ms since 1970."""
        now = at or time.time_ns() // 1_000_000
        metrics = [Metric(name, float(value), now, 0) for name, value in sheet.metrics.items() if _finite(value)]
        metrics += [
            Metric(name, float(value), now, step)
            for name, curve in sheet.curves.items()
            for step, value in curve
            if _finite(value)
        ]
        params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in sheet.params.items()]
        tags = [RunTag(name, value[:LONGEST_TAG]) for name, value in sheet.tags.items()]
        with _understood(self.uri):
            self.client.log_batch(run_id, metrics[:BATCH], params[:100], tags[:100])
            for start in range(BATCH, len(metrics), BATCH):
                self.client.log_batch(run_id, metrics[start : start + BATCH])
            self._attach(run_id, sheet)

    def end(self, run_id: str, status: str, at: int | None = None) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        with _understood(self.uri):
            self.client.set_terminated(run_id, status, end_time=at)

    def keep(self, experiment: str, name: str, sheet: Sheet, status: str = "FINISHED", at: int | None = None) -> str:
        """Record something that is over as a run of its own, and return the run's id."""
        with _understood(self.uri):
            made = self.client.create_run(self.experiment(experiment), run_name=name, start_time=at)
            run_id = str(made.info.run_id)
            self.note(run_id, sheet, at=at)
            self.end(run_id, status, at=at)
            return run_id

    def page(self, run_id: str) -> str:
        """Return how to look at a run: its address on a server, else the command that shows it."""
        run = self.client.get_run(run_id)
        if self.uri.startswith("http"):
            return f"{self.uri.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run_id}"
        return (
            f"run {run.info.run_name} in {self.uri} (see it with: {command('mlflow ui --backend-store-uri', self.uri)})"
        )

    def views(self) -> dict[str, str]:
        """Return questions to the runs of a server, each with the address of the page that answers it."""
        found = self.client.search_runs([self._experiments[EXPERIMENT]], f"tags.`{NIGHT}` != ''", max_results=1)
        last = found[0].data.tags[NIGHT] if found else ""
        weights = found[0].data.tags.get("il.weights_sha256", "").removesuffix("none") if found else ""
        asked = {
            "What was restored in the last night?": f"tags.`{NIGHT}` = '{last}'",
            "What changed since the night before: scans that are new, or others than they were?": (
                f"tags.`{NIGHT}` = '{last}' AND tags.`il.todo` != 'resume' AND tags.`il.todo` != 'retry'"
            ),
            "What failed, in any night?": "attributes.status = 'FAILED'",
            "What did the QA gate refuse?": "tags.`il.verdict` = 'fail'",
            "What got fewer steps than planned?": f"tags.`{DEGRADED}` LIKE '%steps%'",
            "What was made with the weights of the last result?": f"tags.`il.weights_sha256` = '{weights}'",
            "Where has an instrument drifted?": "tags.`il.drift` LIKE '%channel%'",
            "What did an audit find to differ?": "tags.`il.audit` = 'differs'",
        }  # fmt: skip
        known = {
            name: self._list(EXPERIMENT, condition) for name, condition in asked.items() if "= ''" not in condition
        }
        return {"What did every night do?": self._list(f"{EXPERIMENT}-nights", ""), **known}

    def _list(self, experiment_name: str, condition: str) -> str:
        experiment = self.experiment(experiment_name)
        return f"{self.uri.rstrip('/')}/#/experiments/{experiment}/runs?searchFilter={quote(condition, safe='')}"

    def register_weights(
        self, path: Path, *, name: str = DENOISER, alias: str = CHAMPION, metrics: Mapping[str, float] | None = None
    ) -> Registered:
        """Keep a weight file in the registry, as a new version that `alias` points to from now on.

        Args:
            path: A safetensors file.
            name: Registered model.
            metrics: What was measured of these weights.
        """
        digest = sha256_of(path)
        with _understood(self.uri):
            sheet = Sheet(metrics=metrics or {}, tags={"sha256": digest}, files={path: "weights"})
            run_id = self.keep(f"{EXPERIMENT}-pretrain", f"{name}-{digest[:8]}", sheet)
            if not any(model.name == name for model in self.client.search_registered_models()):
                _unless_another(lambda: self.client.create_registered_model(name))
            source = f"{self.client.get_run(run_id).info.artifact_uri}/weights/{path.name}"
            version = self.client.create_model_version(name, source, run_id, tags={"sha256": digest}).version
            self.client.set_registered_model_alias(name, alias, str(version))
        return Registered(f"models:/{name}/{version}", self._kept(source, digest), digest)

    def find_weights(self, uri: str) -> Registered:
        """Return the registered weights behind models:/name@alias or models:/name/version, as a checked local file.

        Raises:
            BadWeights: When there are none, or the file is not the one that was registered.
        """
        name, version = self._version(uri)
        with _understood(self.uri):
            found = self.client.get_model_version(name, version)
            digest = found.tags.get("sha256", "")
            return Registered(f"models:/{name}/{version}", self._kept(str(found.source), digest), digest)

    def champion(self) -> Registered | None:
        """Return the denoiser that the registry calls champion, or None where only the shipped one is known."""
        with _understood(self.uri):
            known = any(model.name == DENOISER for model in self.client.search_registered_models())
        found = self.find_weights(f"models:/{DENOISER}@{CHAMPION}") if known else None
        remember_champion(self.uri, found)
        return found

    def _version(self, uri: str) -> tuple[str, str]:
        name, alias, label = uri.removeprefix("models:/").partition("@")
        if not alias:
            name, _, label = name.partition("/")
        try:
            if alias:
                return name, str(self.client.get_model_version_by_alias(name, label).version)
            return name, str(self.client.get_model_version(name, label).version)
        except MlflowException as error:
            known = ", ".join(model.name for model in self.client.search_registered_models()) or "none at all"
            raise BadWeights(
                f"weights must be a registered model like models:/{DENOISER}@{CHAMPION}, got {uri}; "
                f"{self.uri} holds: {known}; register one with il pretrain, or name a file"
            ) from error

    def _kept(self, source: str, digest: str) -> Path:
        """Return a copy of a registered file in the user's cache, named by its hash so that it never goes stale."""
        cache = cache_folder() / "weights"
        kept = cache / f"{digest}{Path(source).suffix}"
        if kept.is_file() and sha256_of(kept) == digest:
            return kept
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as folder:
            fetched = Path(download_artifacts(artifact_uri=source, dst_path=folder, tracking_uri=self.uri))
            found = sha256_of(fetched)
            if found != digest:
                raise BadWeights(
                    f"registered weights must have sha256 {digest[:12] or '(no such tag)'}, got {found[:12]} "
                    f"from {source}; the artifact or its version was altered: register it again"
                )
            fetched.replace(kept)
        return kept

    def _attach(self, run_id: str, sheet: Sheet) -> None:
        for path, rows in sheet.tables.items():
            names = list(rows[0]) if rows else []
            columns = {name: [row.get(name) for row in rows] for name in names}
            # The layout of MLflow's own tables, so that its page shows it as one.
            table = {"columns": names, "data": [list(row) for row in zip(*columns.values(), strict=True)]}
            self.client.log_text(run_id, json.dumps(table), path)
            listed = json.dumps([{"path": path, "type": "json"}])
            self.client.set_tag(run_id, "mlflow.loggedArtifacts", listed)
        for path, text in sheet.texts.items():
            self.client.log_text(run_id, text, path)
        for file, folder in sheet.files.items():
            with at_hand(file) as local:
                self.client.log_artifact(run_id, str(local), folder)

    def _unfinished(self, volume: VolumeRun) -> str | None:
        return self._newest(volume, " and attributes.status != 'FINISHED'")

    def _newest(self, volume: VolumeRun, more: str) -> str | None:
        same = f"tags.`{FINGERPRINT}` = '{volume.fingerprint}'{more}"
        runs = self.client.search_runs([self._experiments[EXPERIMENT]], same, max_results=50)
        # Compared here: a path may hold quotes, which MLflow's filter language has no escape for.
        return next((str(run.info.run_id) for run in runs if run.data.tags.get(TARGET) == volume.target), None)


@cache
def environment_lock() -> str:
    """Return every installed distribution as name==version, sorted; a running process keeps what it has loaded."""
    found = {(d.metadata["Name"] or "").lower(): d.version for d in importlib.metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name)


def _dataset(volume: VolumeRun) -> DatasetInput:
    source = json.dumps({"uri": volume.source})
    dataset = Dataset(Path(volume.source).name or "volume", volume.digest[:LONGEST_DIGEST], "local", source)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "restoration")])


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@contextmanager
def _first_touch(uri: str) -> Iterator[None]:
    """Let one process at a time create a SQLite database: simultaneous migrations crash each other."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    database = _sqlite_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", timeout=300):
        yield


def _check_answers(uri: str) -> None:
    """Ask a server whether it is there: its own client would ask for minutes."""
    if uri.startswith("http"):
        import requests

        requests.get(f"{uri.rstrip('/')}/health", timeout=PATIENCE_SECONDS)


def _unless_another(make: Callable[[], object]) -> None:
    """Make something that another process may have made since we looked."""
    try:
        make()
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


@contextmanager
def _understood(uri: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TrackingError(
            f"MLflow must take the run's records, got {type(error).__name__} from {uri}: {reason}; "
            "check the tracking URI (--tracking-uri or MLFLOW_TRACKING_URI)"
        ) from error
