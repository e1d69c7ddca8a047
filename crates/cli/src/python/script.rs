//! Inline dependencies of an app (PEP 723): a comment block in its file that uv turns into an environment. Runs uv, holds
//! nothing.

use super::interpreter::without_tokens;
use crate::error::{CommandError, Outcome};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Returns the interpreter of the environment with the inline dependencies of an app, which uv creates or updates. Returns
/// `None` if the file has none, or if uv is not in `PATH`, which is reported.
///
/// # Errors
/// Fails if uv cannot create the environment; uv has then printed the reason.
pub(crate) fn inline_python(app: &str) -> Outcome<Option<PathBuf>> {
    let Some(file) = app.rsplit_once(':').map(|(file, _)| file).filter(|file| file.ends_with(".py")) else {
        return Ok(None);
    };
    // A file that cannot be read is reported by the check of the app.
    if !fs::read_to_string(file).is_ok_and(|text| has_block(&text)) {
        return Ok(None);
    }
    // What uv prints on standard error, such as the progress of downloads, is shown.
    match uv(&["sync", "--quiet", "--script", file]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!(
                "{file} has inline dependencies, but `uv` is not in PATH: workers run without them (https://docs.astral.sh/uv)"
            );
            return Ok(None);
        }
        Ok(output) if output.status.success() => {}
        _ => return Err(failed(file)),
    }
    let found = uv(&["python", "find", "--script", file]).ok().filter(|output| output.status.success());
    let text = found.and_then(|output| String::from_utf8(output.stdout).ok());
    let python = text.as_deref().map(str::trim).map(Path::new).filter(|python| python.is_absolute());
    python.map(|python| Some(python.to_path_buf())).ok_or_else(|| failed(file))
}

fn uv(args: &[&str]) -> io::Result<std::process::Output> {
    without_tokens(&mut Command::new("uv")).args(args).stdin(Stdio::null()).stderr(Stdio::inherit()).output()
}

fn failed(file: &str) -> CommandError {
    CommandError::failed(format_args!(
        "uv cannot create the environment of the inline dependencies of {file}; `uv sync --script {file}` shows why"
    ))
}

/// Returns whether a file has a block `# /// script`.
fn has_block(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_end);
    lines.any(|line| line == "# /// script")
        && lines.take_while(|line| line.starts_with('#')).any(|line| line == "# ///")
}

#[cfg(test)]
mod tests {
    use super::has_block;

    #[test]
    fn only_a_closed_block_counts() {
        let block = "import x\n# /// script\n# dependencies = [\"six\"]\n# ///\n";
        assert!(has_block(block) && has_block(&block.replace('\n', "\r\n")));
        assert!(!has_block("# /// script\n# dependencies = []\nimport x\n# ///\n"), "not closed");
        assert!(!has_block("x = '# /// script'\n# ///\n") && !has_block(""));
    }
}
