//! The layers' benchmark, run once, and the figures it wrote.

use crate::{error::Error, workspace::command};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, io, path::Path, process::Stdio};

/// Which way is better.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// One figure of one run.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) better: Better,
}

/// By regime and name.
pub(crate) type Figures = BTreeMap<(String, String), Figure>;

#[derive(Deserialize)]
struct Line {
    regime: String,
    figure: String,
    #[serde(flatten)]
    value: Figure,
}

/// Runs a build of the benchmark; what it prints is not shown.
pub(crate) fn measure(program: &Path, folder: &Path, layers: &[String]) -> Result<Figures, Error> {
    let json = folder.join("target.figures.jsonl");
    match fs::remove_file(&json) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::file(&json)(error)),
        _ => {}
    }
    let mut layered = command(program, folder);
    layered.args(["--quick", "--json"]).arg(&json).args(layers.iter().flat_map(|layer| ["--layer", layer]));
    let status = layered.stdout(Stdio::null()).status().map_err(Error::program(&program.to_string_lossy()))?;
    if !status.success() {
        return Err(Error::Failed(program.display().to_string()));
    }
    parse(&json)
}

fn parse(file: &Path) -> Result<Figures, Error> {
    let text = fs::read_to_string(file).map_err(Error::file(file))?;
    let mut figures = Figures::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |source| Error::Ledger { file: file.display().to_string(), line: at + 1, source };
        let Line { regime, figure, value } = serde_json::from_str(line).map_err(wrong)?;
        figures.insert((regime, figure), value);
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_benchmark_are_read_and_others_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("figures");
        let line = r#"{"better":"lower","figure":"latency.p50","max":9.0,"median":5.5,"min":1.0,"regime":"one core","rounds":7,"unit":"us"}"#;
        fs::write(&file, line).unwrap();
        let wanted = (("one core".into(), "latency.p50".into()), Figure { median: 5.5, better: Better::Lower });
        assert_eq!(parse(&file).unwrap(), Figures::from([wanted]));
        fs::write(&file, format!("{line}\n{{}}\n")).unwrap();
        assert!(parse(&file).unwrap_err().to_string().contains("figures:2: "));
    }
}
