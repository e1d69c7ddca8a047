//! `herder init`: writes a new project. Never overwrites a file.

use crate::{
    args::Init,
    error::{CommandError, Outcome},
    table,
};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// The files of a project with their templates. `NAME` is the name of the pool.
const BASIC: [(&str, &str); 5] = [
    ("app.py", include_str!("basic/app.py")),
    ("test_app.py", include_str!("basic/test_app.py")),
    ("herder.toml", include_str!("basic/herder.toml")),
    ("README.md", include_str!("basic/README.md")),
    (".gitignore", include_str!("gitignore")),
];
const ENHANCED: [(&str, &str); 5] = [
    ("app.py", include_str!("enhanced/app.py")),
    ("test_app.py", include_str!("enhanced/test_app.py")),
    ("herder.toml", include_str!("enhanced/herder.toml")),
    ("README.md", include_str!("enhanced/README.md")),
    (".gitignore", include_str!("gitignore")),
];

/// Writes the project, and prints the next commands.
pub(crate) fn run(options: &Init) -> Outcome {
    let folder = options.name.clone().unwrap_or_else(|| PathBuf::from("."));
    let name = pool_name(&folder)?;
    let files = if options.enhanced { &ENHANCED } else { &BASIC };
    let existing: Vec<_> = files.iter().map(|(file, _)| *file).filter(|file| folder.join(file).exists()).collect();
    if !existing.is_empty() {
        return Err(CommandError::failed(format_args!(
            "{} already has {}; nothing was written: choose another name, as in `herder init my_app`",
            folder.display(),
            existing.join(", ")
        )));
    }
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    for (file, text) in files {
        write(&folder.join(file), &text.replace("NAME", &name))?;
    }
    print_next(&folder, &name, options.enhanced);
    Ok(())
}

/// Returns the name of the pool: that of the folder.
fn pool_name(folder: &Path) -> Outcome<String> {
    let full = std::path::absolute(folder).map_err(|error| failed(folder, &error))?;
    let last = full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match last.parse::<herder::status::PoolName>() {
        Ok(_) => Ok(last),
        Err(error) => Err(CommandError::usage(format_args!("the name of the folder is that of the pool, and {error}"))),
    }
}

fn write(path: &Path, text: &str) -> Outcome {
    // A file that something else has written since the check is not overwritten either.
    let file = File::options().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::failed(format_args!("{}: {error}", path.display()))
}

fn print_next(folder: &Path, name: &str, enhanced: bool) {
    table::print_line(&format!(
        "wrote app.py, test_app.py, herder.toml, README.md and .gitignore in {}",
        folder.display()
    ));
    table::print_line("next:");
    if folder != Path::new(".") {
        table::print_line(&format!("  cd {}", folder.display()));
    }
    table::print_line("  herder dev");
    let session = if enhanced { "add '{\"item\": \"tea\"}' --session ann" } else { "greet '{\"name\": \"Ann\"}'" };
    table::print_line(&format!("  herder call {name} {session}"));
}
