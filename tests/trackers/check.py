"""Opens what `unmute export runs` writes with the programs it is for: check.py UNMUTE [RUNS.db].

MLflow is asked three times: its client on the folder, its server over HTTP, and its client on the database that its own
migration makes of the folder. TensorBoard is asked twice: its reader of event files, and its server. Of Weights & Biases it is
the reader of offline runs that `wandb sync` uses. Everything is held against what the store itself says."""

import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def call(*words):
    return subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True).stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def serving(*words, url):
    process = subprocess.Popen([str(w) for w in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            assert process.poll() is None, f"{words[0]} ended by itself"
            try:
                with urllib.request.urlopen(url, timeout=2):
                    break
            except OSError:
                time.sleep(0.2)
        else:
            raise AssertionError(f"{words[0]} does not answer at {url}")
        yield
    finally:
        process.terminate()
        process.wait()


def near(a, b):
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)


def mlflow_says(client, what, truth, curves, experiment):
    found = [e for e in client.search_experiments() if e.name == experiment]
    assert len(found) == 1, f"{what}: experiments {[e.name for e in client.search_experiments()]}"
    runs, token = [], None
    while True:
        page = client.search_runs([found[0].experiment_id], max_results=500, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    assert len(runs) == len(truth), f"{what}: {len(runs)} runs, not {len(truth)}"
    points = 0
    for run in runs:
        ours = truth[run.data.tags["unmute.run"]]
        assert run.info.status == "FINISHED" and run.info.start_time > 1.6e12, run.info
        assert run.data.params["part.kind"] == ours["kind"], run.data.params
        for key in ("train.lr", "train.epochs"):
            if ours.get(key) is not None:
                assert float(run.data.params[key]) == ours[key], (key, run.data.params[key])
        assert near(run.data.metrics["top1"], ours["top1"]), (run.data.metrics["top1"], ours["top1"])
        for (name, expected) in curves.get(ours["id"], {}).items():
            history = client.get_metric_history(run.info.run_id, name.replace("/", "."))
            got = [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)]
            assert [s for s, _ in got] == [s for s, _ in expected], (name, got)
            assert all(near(a, b) for (_, a), (_, b) in zip(got, expected)), (name, got, expected)
            points += len(got)
    print(f"mlflow, {what}: {len(runs)} runs of {experiment}, parameters, final numbers and {points} points of curves agree")


def main():
    unmute, here = Path(sys.argv[1]).absolute(), Path(tempfile.mkdtemp())
    if len(sys.argv) > 2:
        store = Path(sys.argv[2]).absolute()
    else:
        store = here / "runs.db"
        experiments = Path(__file__).resolve().parents[2] / "experiments"
        call(unmute, "data", "synth", here / "data", "--train", 160, "--val", 80)
        call(unmute, "run", experiments / "icassp2019", "--dataset", here / "data", "--db", store, "--seeds", "0,1",
             "--set", "train.epochs=3", "--set", "lstm.hidden=16", "--set", "grid.audio=[vggish]")
    condition = "state=done and kind=generator"
    rows = json.loads(call(unmute, "export", "runs", "--db", store, "--format", "json", "--where", condition))
    truth = {row["id"]: row for row in rows}
    assert truth, "the store has no finished generator"
    curves = {}
    epochs = json.loads(call(unmute, "query", "SELECT run_id, epoch, split, loss, accuracy FROM epoch ORDER BY epoch", "--db", store, "--json"))
    for e in epochs:
        for quantity in ("loss", "accuracy"):
            if e[quantity] is not None:
                curves.setdefault(e["run_id"], {}).setdefault(f"{e['split']}/{quantity}", []).append((e["epoch"], e[quantity]))
    some = next(iter(truth))
    call(unmute, "tag", some, "good", "--db", store)
    call(unmute, "note", some, "looked at by check.py", "--db", store)

    from mlflow import MlflowClient
    folder = here / "mlruns"
    for _ in range(2):  # again in the same place: no run stands there twice
        call(unmute, "export", "runs", "--db", store, "--where", condition, "--format", "mlflow", "--out", folder)
    names = [e.name for e in MlflowClient(tracking_uri=folder.as_uri()).search_experiments() if e.name != "Default"]
    assert len(names) >= 1, names
    by_name = {}
    client = MlflowClient(tracking_uri=folder.as_uri())
    for e in client.search_experiments():
        for run in client.search_runs([e.experiment_id], max_results=5000):
            by_name.setdefault(e.name, {})[run.data.tags["unmute.run"]] = truth[run.data.tags["unmute.run"]]
    assert sum(len(runs) for runs in by_name.values()) == len(truth)
    name, of_name = max(by_name.items(), key=lambda item: len(item[1]))
    mlflow_says(client, "its client on the folder", of_name, curves, name)
    tagged = [r for r in client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.good = 'yes'")]
    assert [r.data.tags["unmute.run"] for r in tagged] == [some], "the tag"
    assert "looked at by check.py" in tagged[0].data.tags["mlflow.note.content"]
    mlflow = Path(sys.executable).parent / "mlflow"
    port = free_port()
    with serving(mlflow, "ui", "--backend-store-uri", folder, "--port", port, url=f"http://127.0.0.1:{port}/health"):
        mlflow_says(MlflowClient(tracking_uri=f"http://127.0.0.1:{port}"), "its server (mlflow ui)", of_name, curves, name)
    database = f"sqlite:///{here / 'mlflow.db'}"
    call(mlflow, "migrate-filestore", "--source", folder, "--target", database)
    mlflow_says(MlflowClient(tracking_uri=database), "what its own migration makes of it", of_name, curves, name)

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util
    folder = here / "tb"
    for _ in range(2):
        call(unmute, "export", "runs", "--db", store, "--where", condition, "--format", "tensorboard", "--out", folder)
    places = [p for p in folder.iterdir()]
    assert len(places) == len(truth), f"{len(places)} folders, not {len(truth)}"
    points = 0
    for place in places:
        ours = next(row for row in rows if place.name.endswith("." + row["id"][:12]))
        events = EventAccumulator(str(place), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        # Since simple values became tensors, one of the two holds them.
        series = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        for tag in events.Tags()["tensors"]:
            if not tag.startswith("_hparams_") and tag not in ("tags", "notes"):
                series[tag] = [(e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]
        single = lambda a, b: math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6)
        assert single(series["final/top1"][0][1], ours["top1"]), (series.get("final/top1"), ours["top1"])
        for name_of, expected in curves.get(ours["id"], {}).items():
            got = series[name_of]
            assert [s for s, _ in got] == [s for s, _ in expected], (name_of, got)
            assert all(single(a, b) for (_, a), (_, b) in zip(got, expected)), (name_of, got, expected)
            points += len(got)
    print(f"tensorboard, its reader of event files: {len(places)} runs, final numbers and {points} points of curves agree")
    port, tensorboard = free_port(), Path(sys.executable).parent / "tensorboard"
    server = f"http://127.0.0.1:{port}"
    # Its own reader in place of the one in Rust, which comes as a binary.
    with serving(tensorboard, "--logdir", folder, "--port", port, "--load_fast", "false", url=f"{server}/data/environment"):
        def ask(path, body=None):
            request = urllib.request.Request(server + path, data=None if body is None else json.dumps(body).encode())
            if body is not None:
                request.add_header("Content-Type", "application/json")
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        for _ in range(100):
            tags = ask("/data/plugin/scalars/tags")
            # It reads one run after the other, and answers meanwhile.
            whole = [name for name, of_run in tags.items() if "val/loss" in of_run and "final/top1" in of_run]
            if len(whole) == len(truth):
                break
            time.sleep(0.3)
        assert len(whole) == len(truth), f"{len(whole)} runs, not {len(truth)}: {tags}"
        parameters = ask("/data/plugin/hparams/experiment", {"experimentName": ""})
        known = {p["name"] for p in parameters["hparamInfos"]}
        assert {"train.lr", "part.audio"} <= known, known
    print(f"tensorboard, its server: {len(tags)} runs with curves, {len(known)} parameters on the HPARAMS page")

    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore
    folder, points, noted = here / "wandb", 0, []
    for _ in range(2):
        call(unmute, "export", "runs", "--db", store, "--where", condition, "--format", "wandb-offline", "--out", folder)
    places = list(folder.iterdir())
    assert len(places) == len(truth), f"{len(places)} offline runs, not {len(truth)}"
    for place in places:
        file = DataStore()
        file.open_for_scan(str(next(place.glob("run-*.wandb"))))
        records = []
        while (data := file.scan_data()) is not None:
            records.append(Record.FromString(data))
        kinds = [r.WhichOneof("record_type") for r in records]
        assert kinds[:2] == ["header", "run"] and kinds[-2:] == ["summary", "exit"], kinds
        assert [r.num for r in records] == list(range(1, len(records) + 1))
        run = records[1].run
        ours = truth[run.run_id]
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert config["part.kind"] == ours["kind"] and config["unmute.run"] == ours["id"] and run.run_group == ours["key"], run
        assert config["train.epochs"] == ours["train.epochs"] and near(config["train.lr"], ours["train.lr"]), config
        assert run.start_time.ToSeconds() > 1.6e9 and records[-1].exit.exit_code == 0
        noted += [run.run_id] if list(run.tags) == ["good"] and "looked at by check.py" in run.notes else []
        summary = {item.key: json.loads(item.value_json) for item in records[-2].summary.update}
        assert near(summary["top1"], ours["top1"]), (summary, ours["top1"])
        series = {}
        for record in records[2:-2]:
            row = {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            assert row["_step"] == record.history.step.num
            for key, value in row.items():
                series.setdefault(key, []).append((row["_step"], value))
        for key, expected in curves.get(ours["id"], {}).items():
            got = series[key]
            assert [s for s, _ in got] == [s for s, _ in expected], (key, got)
            assert all(near(a, b) for (_, a), (_, b) in zip(got, expected)), (key, got, expected)
            points += len(got)
    assert noted == [some], noted
    print(f"wandb, its reader of offline runs: {len(places)} runs, settings, final numbers and {points} points of curves agree")


if __name__ == "__main__":
    main()
