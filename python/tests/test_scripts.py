"""The scripts `scripts/flake-rate` and `scripts/bench-compare`."""

import importlib.machinery
import importlib.util
import os
import random
import subprocess

import pytest

from host import SOURCE

SCRIPTS = SOURCE.parent.parent / "scripts"


def script(name):
    """Load a script as a module."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(SCRIPTS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


flake_rate, bench_compare = script("flake-rate"), script("bench-compare")


# From scipy.stats.beta.ppf of scipy 1.17.
INTERVALS = [
    (0, 1, 0.0, 0.975),
    (1, 1, 0.025, 1.0),
    (0, 20, 0.0, 0.1684334709830853),
    (1, 20, 0.0012650894979498038, 0.24873276277202777),
    (5, 100, 0.016431879182052155, 0.11283491110546275),
    (50, 100, 0.39832112950330095, 0.601678870496699),
    (99, 100, 0.9455406146079194, 0.9997468539670226),
    (0, 80_000, 0.0, 4.610993008091853e-05),
    (7, 80_000, 3.518023860190655e-05, 0.00018027507845427788),
    (400, 80_000, 0.004523007800344187, 0.005513411985912934),
    (79_999, 80_000, 0.9999303564475468, 0.9999996835274503),
    (3, 2_000_000, 3.0933616827149594e-07, 4.383630214438632e-06),
]


@pytest.mark.parametrize(("failed", "total", "low", "high"), INTERVALS)
def test_r49_intervals_are_those_of_the_tables(failed, total, low, high):
    assert flake_rate.interval(failed, total) == pytest.approx((low, high), rel=1e-6, abs=1e-9)


def suite(name, *cases):
    """Return a <testsuite>; a case is the name of a test and the element with its outcome."""
    inner = "".join(f'<testcase classname="{name.split("@")[0]}" name="{test}">{end}</testcase>' for test, end in cases)
    return f'<testsuite name="{name}">{inner}</testsuite>'


def junit(folder, name, *suites):
    path = folder / name
    path.write_text(f"<testsuites>{''.join(suites)}</testsuites>")
    return str(path)


PASSED, FAILED = "", '<failure type="test failure"/>'


def test_r49_executions_and_runs_are_counted_across_reports(tmp_path, capsys):
    stress = junit(
        tmp_path,
        "stress.xml",
        suite("pools@stress-0", ("a", PASSED), ("b", PASSED), ("c", "<skipped/>")),
        suite("core@stress-0", ("a", PASSED)),
        suite("pools@stress-1", ("a", PASSED), ("b", FAILED)),
        suite("core@stress-1", ("a", PASSED)),
    )
    # `b` passed at its second attempt. `d` has two cases, as pytest reports a failed teardown: one execution.
    cases = [("b", "<flakyFailure/>"), ("d", "<error/>"), ("d", PASSED)]
    pytest_report = junit(tmp_path, "pytest.xml", suite("pools", *cases))
    assert flake_rate.main([stress, pytest_report]) == 1
    printed = capsys.readouterr().out
    assert "executions       3 of 8         38 % (8.5 to 76 %)" in printed
    assert "runs             2 of 3         67 % (9.4 to 99 %)" in printed
    where = f"2 of 3         67 % (9.4 to 99 %)\n  failed in {stress} run 2\n  failed in {pytest_report} run 1\n"
    assert printed.count("pools b\n") == 1 and where in printed.split("pools b\n")[1]
    assert "note: 3 of 4 tests ran in only some of the 3 runs" in printed

    assert flake_rate.main([junit(tmp_path, "clean.xml", suite("pools", ("a", PASSED)))]) == 0
    assert "executions       0 of 1         0 % (0 to 97 %)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no element found"),
        ("<testsuites><testsuite", "unclosed token"),
        ("<html/>", "the root element is <html>"),
        ("<testsuites/>", "contains no executed test"),
        (f"<testsuites>{suite('pools', ('a', '<skipped/>'))}</testsuites>", "contains no executed test"),
    ],
)
def test_a_broken_or_empty_report_is_refused(text, wrong, tmp_path, capsys):
    report = tmp_path / "report.xml"
    report.write_text(text)
    assert flake_rate.main([str(report)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"flake-rate: {report}: ") and wrong in error


def test_a_missing_report_and_one_that_is_given_twice_are_refused(tmp_path, capsys):
    assert flake_rate.main([str(tmp_path / "missing.xml")]) == 2
    assert "No such file" in capsys.readouterr().err
    report, copy = (junit(tmp_path, name, suite("pools", ("a", PASSED))) for name in ("one.xml", "copy.xml"))
    assert flake_rate.main([report, copy]) == 2
    assert f"{copy}: same content as {report}" in capsys.readouterr().err


def test_the_median_lies_between_the_order_statistics_of_the_sign_test():
    # The table of critical values of the sign test, two-sided at 5 %: W. J. Dixon and A. M. Mood, JASA 41 (1946).
    for count, rank in [(6, 1), (8, 1), (9, 2), (10, 2), (11, 2), (12, 3), (15, 4), (20, 6), (25, 8)]:
        assert bench_compare.median_interval(range(1, count + 1)) == (rank, count + 1 - rank)


def pairs(factor, lower_is_better=True, noise=0.0):
    """Ten pairs of measurements on a machine whose speed changes between pairs by more than the factor."""
    draw = random.Random(7)

    def figure(value):
        return {"time": (value * (1 + noise * draw.uniform(-1, 1)), lower_is_better), "zero": (0.0, True)}

    return [(figure(10.0 * speed), figure(10.0 * speed * factor)) for speed in range(1, 11)]


@pytest.mark.parametrize(
    ("factor", "lower_is_better", "verdict"),
    [(1.2, True, "slower"), (1.2, False, "faster"), (0.8, True, "faster"), (0.8, False, "slower")],
)
def test_a_difference_is_seen_at_any_speed_of_the_machine(factor, lower_is_better, verdict):
    _, line, summary = bench_compare.table(pairs(factor, lower_is_better, noise=0.02))
    assert line.startswith("time ") and line.endswith(f"  {verdict}")
    assert summary.startswith("1 figures in 10 pairs: ") and f"1 {verdict}" in summary


def test_noise_is_no_difference():
    _, line, _ = bench_compare.table(pairs(1.0, noise=0.2))
    assert line.endswith("  no difference seen")


CARGO = """#!/bin/sh
printf '%s\\n' '{"reason":"build-finished"}' \\
    '{"reason":"compiler-artifact","target":{"name":"layers"},"executable":"'"$PWD"'/benches/layers"}'
"""
LAYERS = """#!/bin/sh
basename "$PWD" >>"$ORDER"
printf '{"regime":"one core","figure":"time","better":"lower","median":%s}\\n' "$(cat speed)" >"$3"
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits, of which the second is slower and has the benchmark, and a `cargo` that builds nothing."""
    root = tmp_path / "repository"
    (root / "benches").mkdir(parents=True)
    (tmp_path / "cargo").write_text(CARGO)
    (root / "benches/layers").write_text("#!/bin/sh\nexit 1\n")
    (root / ".gitignore").write_text("target\n")
    for path in (tmp_path / "cargo", root / "benches/layers"):
        path.chmod(0o755)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "CARGO_TARGET_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ORDER", str(tmp_path / "order"))
    monkeypatch.chdir(root)

    def git(*words):
        subprocess.run(["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *words], check=True)

    git("init", "--quiet")
    for speed, bench in [("10.0", None), ("12.0", LAYERS)]:
        (root / "speed").write_text(speed)
        if bench:
            (root / "benches/layers").write_text(bench)
        git("add", ".")
        git("commit", "--quiet", "--no-gpg-sign", "--message", speed)
    return root


def test_two_revisions_are_run_in_turns_with_the_benchmark_of_the_second(repository, capsys):
    assert bench_compare.main(["HEAD~1", "--pairs", "6"]) == 0
    line = "1.200 (1.200 to 1.200)  slower\n1 figures in 6 pairs: 1 slower, 0 faster, 0 no difference seen"
    assert line in capsys.readouterr().out
    assert (repository.parent / "order").read_text().split() == ["base", "head", "head", "base"] * 3
    assert bench_compare.main(["HEAD", "--pairs", "6"]) == 0
    assert "1.000 (1.000 to 1.000)  no difference seen" in capsys.readouterr().out
    listed = subprocess.run(["git", "worktree", "list"], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert len(listed.splitlines()) == 1, "the worktrees are removed"


def test_revisions_that_cannot_be_compared_are_an_error(repository, capsys):
    assert bench_compare.main(["no-such-revision"]) == 2
    assert "bench-compare: git rev-parse" in capsys.readouterr().err
    assert bench_compare.main(["HEAD~1", "HEAD~1"]) == 2, "the benchmark of HEAD fails"
    assert "benches/layers" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        bench_compare.main(["HEAD~1", "--pairs", "5"])
    assert "allowed: at least 6" in capsys.readouterr().err
