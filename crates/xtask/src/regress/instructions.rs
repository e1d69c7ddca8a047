//! The core's instructions a call, which callgrind counts: the same each time, so each side is counted once.

use super::{compare::Comparison, revision::Revision};
use crate::error::Error;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Nothing, with a word about why, where valgrind or the benchmark's runner is missing.
pub(crate) fn compare(tools: &Path, base: &Revision, head: &Revision) -> Result<Vec<Comparison>, Error> {
    let Some(runner) = runner(tools) else {
        println!(
            "instructions are not counted: that wants valgrind and gungraun-runner, which `.ci/run instructions` installs"
        );
        return Ok(Vec::new());
    };
    let (base, head) = (count(base, &runner)?, count(head, &runner)?);
    let both = base.iter().filter_map(|(name, base)| Some((name, *base, *head.get(name)?)));
    Ok(both.map(|(name, base, head)| Comparison::exact(format!("instructions {name}"), base, head)).collect())
}

fn runner(tools: &Path) -> Option<PathBuf> {
    let valgrind = Command::new("valgrind").arg("--version").output();
    valgrind.ok().filter(|output| output.status.success())?;
    let own = env::var_os("GUNGRAUN_RUNNER").map_or_else(|| tools.join("gungraun-runner"), PathBuf::from);
    own.exists().then_some(own)
}

/// By case: all instructions of the benchmark.
fn count(revision: &Revision, runner: &Path) -> Result<BTreeMap<String, f64>, Error> {
    let args = ["bench", "--quiet", "-p", "herder-core", "--bench", "instructions", "--", "--output-format=json"];
    let mut bench = revision.cargo();
    let output = bench.args(args).env("GUNGRAUN_RUNNER", runner).stderr(Stdio::inherit()).output();
    let output = output.map_err(Error::program("cargo"))?;
    if !output.status.success() {
        return Err(Error::Failed(format!("cargo {}", args.join(" "))));
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(output: &str) -> BTreeMap<String, f64> {
    let case = |line: &str| {
        let summary: Value = serde_json::from_str(line).ok()?;
        let metrics = &summary["profiles"][0]["data"]["total"]["metrics"];
        Some((summary["id"].as_str()?.to_owned(), metrics["Ir"]["values"]["new"].as_f64()?))
    };
    output.lines().filter_map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_by_case() {
        let line = r#"{"id": "basic_alone", "profiles": [{"data": {"total": {"metrics": {"Ir": {"values": {"new": 5000}}}}}}]}"#;
        assert_eq!(parse(&format!("{line}\n\nnoise\n")), BTreeMap::from([("basic_alone".into(), 5000.0)]));
    }
}
