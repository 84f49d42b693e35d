"""The Ray pool on a real cluster in small: a node that dies, jobs that fail, demands that no node meets."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

import speechbrain_ext.launch.on_ray
from speechbrain_ext.errors import InputError
from speechbrain_ext.launch.jobs import Job, JobEvent
from speechbrain_ext.launch.on_ray import _LogReader, run_jobs_on_ray
from tests.launch.test_local import FAMILY, is_alive, job, python, states, wait_for_family, wait_until
from tests.launch.test_plan import STUB, run, words  # noqa: F401

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="follows processes by /proc")

# Leaves a file called <job>.<process id>, and ends when the file "go" is there.
WAIT = """
import os, pathlib, signal, sys, time
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(folder / f"{name}.{os.getpid()}").touch()
signal.alarm(600)
while not (folder / "go").exists():
    time.sleep(0.02)
"""
# The first time it kills the Ray worker that runs it.
KILL_WORKER = """
import os, pathlib, signal, sys
marker = pathlib.Path(sys.argv[1])
if not marker.exists():
    marker.touch()
    os.kill(os.getppid(), 9)
    signal.alarm(600)
    signal.pause()
"""
SYSTEM_CONFIG = {
    # A dead node is noticed within seconds; one that answers late, on a busy machine, is not dead.
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 600_000,
    "health_check_failure_threshold": 4,
    "memory_monitor_refresh_ms": 0,  # what else the machine runs shall kill no worker
}
NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def ray_folder():
    """Keep Ray's files apart, and see to it that no process is left: each carries the folder in its environment."""
    pytest.importorskip("ray")
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # tmp_path is too long for the names of Ray's sockets
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_register_timeout_seconds", "600")
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("RAY_ADDRESS", "PYTHONPATH"):
            patch.delenv(name, raising=False)
        patch.chdir(folder)  # Ray would show its workers the checkout if that were the working directory
        yield folder
    try:
        wait_until(lambda: not jobs_of(folder))  # the cluster's own processes are Ray's affair
    finally:
        kill_all(folder)
        shutil.rmtree(folder)


@pytest.fixture
def own_folder(ray_folder):
    """Make a folder for the Ray of one test."""
    folder = tempfile.mkdtemp(prefix="own", dir=ray_folder)
    yield folder
    kill_all(folder)


@pytest.fixture(scope="module")
def cluster(ray_folder):
    """Start a cluster of one node with two cores, and a GPU that only Ray believes in."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "num_gpus": 1, "_system_config": SYSTEM_CONFIG, **NODE}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    disconnect()
    cluster.shutdown()


@pytest.fixture
def connected(cluster):
    """Connect to the cluster, unless a test before this one has done so: its workers are there then."""
    import ray

    if not ray.is_initialized():
        ray.init(address=cluster.address, log_to_driver=False)
    return cluster


@pytest.fixture
def disconnected():
    """See to it that there is no connection to Ray, and that the test leaves none."""
    disconnect()
    yield
    if disconnect():
        pytest.fail("the test left a connection to Ray")


def disconnect():
    ray = sys.modules.get("ray")
    if ray and ray.is_initialized():
        ray.shutdown()
        return True


def processes_of(folder):
    def is_of(pid):
        with contextlib.suppress(OSError):  # psutil reads no environment behind a title that Ray has given
            return f"RAY_TMPDIR={folder}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes() and is_alive(pid)

    return [pid for pid in psutil.pids() if pid != os.getpid() and is_of(pid)]


def kill_all(folder):
    for pid in processes_of(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def jobs_of(folder):
    """The processes among them that `python` in test_local starts, and what those have forked."""
    found = []
    for pid in processes_of(folder):
        with contextlib.suppress(psutil.Error):
            found += [pid] if "-S" in psutil.Process(pid).cmdline() else []
    return found


def is_agent(pid):
    """Whether it is one of Ray's agents: after a raylet that was killed, they wait for a GCS that is gone as well."""
    with contextlib.suppress(psutil.Error):
        return "agent" in " ".join(psutil.Process(pid).cmdline()[:3]).lower()


def parent_of(pid):
    return psutil.Process(pid).ppid()


def test_run_jobs_on_ray_starts_one_on_this_machine_and_stops_it(tmp_path, own_folder, disconnected, monkeypatch):
    import ray

    # By itself, Ray would take this for the address of a cluster to join.
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    # By its own folder it is told from the cluster, which may be starting workers for other tests.
    monkeypatch.setenv("RAY_TMPDIR", own_folder)
    pool = run_jobs_on_ray([job(tmp_path, "a", WAIT, tmp_path, "a")], tick_s=0.1)
    for event in pool:
        if event == JobEvent("a", "started"):
            assert {"raylet", "gcs_server"} <= {psutil.Process(pid).name() for pid in processes_of(own_folder)}
            (tmp_path / "go").touch()
            break
    else:
        pytest.fail("it did not start")
    assert states(pool) == [("a", "finished")]
    assert not ray.is_initialized()
    wait_until(lambda: all(map(is_agent, processes_of(own_folder))))


def test_run_jobs_on_ray_node_dies_and_its_job_runs_again_elsewhere(tmp_path, connected):
    node = connected.add_node(num_cpus=1, **NODE)
    raylet = node.all_processes["raylet"][0].process.pid
    names = list("abcde")
    pool = run_jobs_on_ray([job(tmp_path, name, WAIT, tmp_path, name) for name in names], gpus_per_job=0, tick_s=0.1)
    events = []

    def job_there():
        events.append(next(pool))
        for path in tmp_path.glob("?.*"):
            name, pid = path.name.split(".")
            if parent_of(parent_of(int(pid))) == raylet:
                return name, int(pid)

    wait_until(job_there)
    name, pid = job_there()
    connected.remove_node(node, allow_graceful=False)
    wait_until(lambda: not is_alive(pid))  # and only now may any job end
    (tmp_path / "go").touch()
    events += pool

    assert sys.modules["ray"].is_initialized()  # it was there before
    assert None in events
    events = states(events)
    for each in names:
        times = 2 if each == name else 1
        expected = ["started", "retried", "finished"] if each == name else ["started", "finished"]
        assert [state for who, state in events if who == each] == expected
        assert len(list(tmp_path.glob(f"{each}.*"))) == times
        assert (tmp_path / "logs" / f"{each}.log").read_text().count("#### attempt 1 of 2") == times


def test_run_jobs_on_ray_failing_job_is_run_again_and_reported(tmp_path, connected):
    code = "import sys; n = open(sys.argv[1], 'a+'); n.write('x'); print('attempt', n.tell()); sys.exit(n.tell() + 10)"
    missing = Job("missing", (str(tmp_path / "missing"),), str(tmp_path / "missing.log"))
    jobs = [job(tmp_path, "bad", code, tmp_path / "n"), missing, job(tmp_path, "good", "")]
    events = [event for event in run_jobs_on_ray(jobs, gpus_per_job=0, tick_s=0.1) if event]
    of_bad = [event for event in events if event.name == "bad"]
    started, retried = JobEvent("bad", "started"), JobEvent("bad", "retried")
    assert of_bad == [started, retried, JobEvent("bad", "failed", 12, "attempt 2")]
    assert [event.state for event in events if event.name == "good"] == ["started", "finished"]
    of_missing = [event for event in events if event.name == "missing"]
    assert [event.state for event in of_missing] == ["started", "retried", "failed"]
    assert "missing cannot be started" in of_missing[-1].tail


def test_run_jobs_on_ray_jobs_find_folders_modules_and_threads(tmp_path, connected, monkeypatch):
    for folder in ("work", "users"):
        (tmp_path / folder).mkdir()
    (tmp_path / "users" / "module_a.py").write_text("x = 'users'")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "users"))
    monkeypatch.delenv("OMP_NUM_THREADS")
    Path("log").write_text("#### attempt 1 of 2 on a day long ago\n")
    names = "[os.environ.get(name) for name in ('OMP_NUM_THREADS', 'SB_DISABLE_QUIRKS', 'OF_THE_USER')]"
    code = f"import module_a, os; print(module_a.x, os.getcwd(), *{names})"
    monkeypatch.setenv("SB_DISABLE_QUIRKS", "allow_tf32")
    monkeypatch.setenv("OF_THE_USER", "here")
    events = states(run_jobs_on_ray([Job("a", python(code), "log")], cpus_per_job=2))
    assert events == [("a", "started"), ("a", "finished")]
    assert Path("log").read_text().splitlines()[-1] == f"users {tmp_path / 'work'} 2 allow_tf32 None"

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    list(run_jobs_on_ray([Job("a", python(code), "log")], cpus_per_job=2))
    assert Path("log").read_text().splitlines()[-1].endswith(" 3 allow_tf32 None")


def test_run_jobs_on_ray_dead_workers_are_replaced_until_it_is_enough(tmp_path, connected):
    jobs = [job(tmp_path, "a", KILL_WORKER, tmp_path / "marker")]
    events = states(run_jobs_on_ray(jobs, worker_deaths=1, retries=0))
    assert events == [("a", "started"), ("a", "retried"), ("a", "finished")]
    (tmp_path / "marker").unlink()
    *_, failed = (e for e in run_jobs_on_ray(jobs, worker_deaths=0, retries=0) if e)
    assert (failed.name, failed.state, failed.returncode) == ("a", "failed", None)
    assert "worker died" in failed.tail


def test_run_jobs_on_ray_folder_that_a_worker_lacks_fails_the_job(tmp_path, connected, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    pool = run_jobs_on_ray([job(tmp_path, "a", "")])
    monkeypatch.setattr(os, "getcwd", lambda: str(tmp_path / "nowhere"))
    (failed,) = (event for event in pool if event)
    assert (failed.state, failed.returncode) == ("failed", None)
    assert failed.tail.startswith("FileNotFoundError") and failed.tail.endswith("nowhere'")


def test_run_jobs_on_ray_log_that_is_not_seen_here_yet_loses_no_event(tmp_path, connected, monkeypatch):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(os, "getcwd", lambda: str(tmp_path / "there"))
    events = states(run_jobs_on_ray([Job("a", python(""), "log")]))
    assert events == [("a", "started"), ("a", "finished")]
    assert (tmp_path / "there" / "log").exists()


def test_log_reader_sees_each_attempt_once_and_waits_for_whole_lines(tmp_path):
    a = job(tmp_path, "a", "")
    reader = _LogReader(a)
    Path(a.log_file).parent.mkdir()
    seen = []
    for text in ("#### att", "empt 1 of 2 on x\n", "output\n 10%", "\r20%\n\n", "#### attempt 2 of 2 on x\nout"):
        with open(a.log_file, "a") as log:
            log.write(text)
        seen.append([event.state for event in reader.read_events()])
    assert seen == [[], ["started"], [], [], ["retried"]]


def test_run_jobs_on_ray_closed_ends_the_jobs_and_its_connection(tmp_path, cluster, disconnected):
    import ray

    family, never = job(tmp_path, "family", FAMILY, tmp_path, "obedient"), job(tmp_path, "never", "")
    pool = run_jobs_on_ray([family, never], address=cluster.address, cpus_per_job=2, tick_s=0.05)
    pids = wait_for_family(tmp_path, lambda: next(pool))
    pool.close()
    assert not ray.is_initialized()
    assert not any(is_alive(pid) for pid in pids)
    assert len(list(tmp_path.glob("terminated.*"))) == 2  # asked, not killed
    assert not Path(never.log_file).exists()
    assert "attempt 2" not in Path(family.log_file).read_text()


def test_run_jobs_on_ray_closed_kills_the_workers_that_take_too_long(tmp_path, connected, monkeypatch):
    monkeypatch.setattr(speechbrain_ext.launch.on_ray, "CANCEL_S", 0.2)
    pool = run_jobs_on_ray([job(tmp_path, "family", FAMILY, tmp_path, "stubborn")], tick_s=0.05)
    pids = wait_for_family(tmp_path, lambda: next(pool))
    pool.close()
    # The kernel ends the job's process with the worker. What that has started remains: this was no gentle end.
    wait_until(lambda: not is_alive(pids[0]))
    assert is_alive(pids[1])
    os.kill(pids[1], signal.SIGKILL)


@pytest.mark.parametrize(
    "demand, message",
    [
        ({"cpus_per_job": 9}, "it asks for 9 CPUs and 1 GPUs, the biggest node has 2 CPUs and 1 GPUs. Ask for less"),
        ({"gpus_per_job": 2}, "it asks for 1 CPUs and 2 GPUs, the biggest node has 2 CPUs and 1 GPUs. Ask"),
        ({"gpus_per_job": 1.5}, "gpus_per_job must be a whole number from 0, or a fraction of 1, got 1.5."),
        ({"gpus_per_job": -1}, "gpus_per_job must be a whole number from 0, or a fraction of 1, got -1."),
    ],
)
def test_run_jobs_on_ray_demands_that_no_node_meets_are_refused(tmp_path, connected, demand, message):
    with pytest.raises(InputError, match=message):
        list(run_jobs_on_ray([job(tmp_path, "a", "")], **demand))


@pytest.mark.parametrize(("gpus", "visible"), [(None, "0"), (0.5, "0")])
def test_run_jobs_on_ray_takes_a_gpu_where_there_are_some(tmp_path, connected, gpus, visible):
    a = job(tmp_path, "a", "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))")
    assert states(run_jobs_on_ray([a], gpus_per_job=gpus))[-1] == ("a", "finished")
    assert Path(a.log_file).read_text().splitlines()[1] == visible


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "auto"])
def test_run_jobs_on_ray_address_without_a_cluster_is_refused(tmp_path, disconnected, monkeypatch, address):
    ray = pytest.importorskip("ray")

    def find_none(**_):  # the machine that tests may have a cluster
        assert address == "auto", "Ray would try for minutes"
        raise ConnectionError("There is none.\nMore words.")

    monkeypatch.setattr(ray, "init", find_none)
    reason = "There is none" if address == "auto" else r"[^\n]+"
    message = rf"must be auto or host:port of a running cluster, got '{address}' \({reason}\). Start one"
    with pytest.raises(InputError, match=message):
        list(run_jobs_on_ray([job(tmp_path, "a", "")], address=address))


@pytest.mark.parametrize(
    "option, message",
    [
        ({"cpus_per_job": 0}, "cpus_per_job must be a whole number from 1, got 0"),
        ({"worker_deaths": -1}, "worker_deaths must be a whole number from 0, got -1"),
        ({"retries": 0.5}, "retries must be a whole number from 0, got 0.5"),
    ],
)
def test_run_jobs_on_ray_numbers_and_names_are_checked_at_once(tmp_path, option, message):
    with pytest.raises(InputError, match=message):
        run_jobs_on_ray([job(tmp_path, "a", "")], **option)
    with pytest.raises(InputError, match="its own name"):
        run_jobs_on_ray([job(tmp_path, "a", "")] * 2)


def test_run_jobs_on_ray_without_jobs_starts_no_ray(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", None)
    assert list(run_jobs_on_ray([])) == []


def test_run_jobs_on_ray_missing_ray_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError) as error:
        run_jobs_on_ray([job(tmp_path, "a", "")])
    assert str(error.value) == 'Ray is not installed. pip install "speechbrain-ext[ray]" (or pip install ray).'


def test_run_jobs_on_ray_calls_nobody_at_home(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    run_jobs_on_ray([])
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    run_jobs_on_ray([])
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"  # who wants it


def test_folds_are_tasks_of_ray_when_asked(run, connected, tmp_path, capsys):  # noqa: F811
    """Resuming a killed fold is tested in test_plan, and that a dead node's job runs again above."""
    (tmp_path / "stub.py").write_text(STUB)
    folder = tmp_path / "runs"
    options = ["--ray", "--gpus_per_run=0", "--folds=1-3", f"--results_folder={folder}"]
    assert run(*options, train=tmp_path / "stub.py") == 1
    said = capsys.readouterr()
    assert "2 of 3 finished, 1 failed" in said.out
    assert "seed 1, fold 2 failed (exit status 1):\nworking on --fold=2\nCUDA is out of memory" in said.err
    logs = {path.name: path.read_text().count("working on --fold=") for path in (folder / "logs").iterdir()}
    assert logs == {"seed1_fold1.log": 1, "seed1_fold2.log": 2, "seed1_fold3.log": 1}
