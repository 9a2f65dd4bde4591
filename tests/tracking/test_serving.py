"""`lab dashboard` as a process with MLflow's server in it."""

import json
import urllib.request

import pytest

from lab.tracking import publish


@pytest.mark.slow
def test_it_sends_what_waits_serves_it_and_ends_with_its_workers(make_run, tmp_path, dashboard):
    make_run()
    with dashboard(tmp_path) as (address, lab):
        server = address.partition("/#")[0]
        assert server.startswith("http://127.0.0.1:")
        assert "/#/experiments/1/runs" in address
        other = make_run("other", wall=7.0)
        assert publish(other, {"uri": server, "experiment": "by http", "timeout": 60}) is None
        query = json.dumps({"experiment_ids": ["1"]}).encode()
        request = urllib.request.Request(f"{server}/api/2.0/mlflow/runs/search", query, {"Content-Type": "application/json"})
        names = {run["info"]["run_name"] for run in json.load(urllib.request.urlopen(request, timeout=30))["runs"]}
        assert names == {"er · permuted digits x3 · domain", "seed 3", "seed 7"}
        (run,) = (entry["run_id"] for entry in json.loads((other / "tracking.json").read_text()))
        listing = f"{server}/api/2.0/mlflow/artifacts/list?run_id={run}&path=figures"
        files = json.load(urllib.request.urlopen(listing, timeout=30))["files"]
        assert [file["path"] for file in files] == ["figures/accuracy_matrix.png"]
    assert lab.returncode == 0, lab.said
    assert "sent 1 run that waited" in lab.said
    assert f"its cells as charts: {server}/#/experiments/1/runs?" in lab.said
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset
        urllib.request.urlopen(f"{server}/health", timeout=2)
