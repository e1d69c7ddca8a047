//! The `herder` Python package as data. Holds no state and does no I/O: `herder-actors` writes it where `python3` finds it.

/// Pairs each name with the text of that file in `src/herder`.
macro_rules! embed {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("src/herder/", $path)))),*]
    };
}

/// Every file of the package: its path below the package's folder `herder`, and its content.
pub const FILES: &[(&str, &str)] = embed![
    "__init__.py",
    "__main__.py",
    "aio.py",
    "aio_calls.py",
    "aio_hooks.py",
    "aio_input.py",
    "aio_loop.py",
    "aio_plain.py",
    "aio_reader.py",
    "aio_recovery.py",
    "annotations.py",
    "answers.py",
    "app.py",
    "binding.py",
    "bytecode.py",
    "call.py",
    "codec.py",
    "contexts.py",
    "control.py",
    "demo.py",
    "errors.py",
    "explain.py",
    "frames.py",
    "hooks.py",
    "load.py",
    "loop.py",
    "notebook.py",
    "pipe.py",
    "py.typed",
    "session.py",
    "signals.py",
    "stdlib.py",
    "testing.py",
    "text.py",
    "worker.py",
];

#[cfg(test)]
mod tests {
    use super::FILES;
    use std::{fs, path::Path};

    /// Every file below `folder`, as paths with `/`, but what Python leaves there.
    fn files(folder: &Path, below: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("the package's folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            let path = format!("{below}{name}");
            if name == "__pycache__" {
                continue;
            } else if entry.file_type().expect("a file type").is_dir() {
                files(&entry.path(), &format!("{path}/"), found);
            } else {
                found.push(path);
            }
        }
    }

    /// A worker runs on a bare `python3` with nothing installed only if no file of the package was forgotten.
    #[test]
    fn every_file_of_the_package_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/herder");
        let mut there = Vec::new();
        files(&folder, "", &mut there);
        there.sort();
        let embedded: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        assert_eq!(embedded, there);
    }

    /// The embedded text is the file's, byte by byte.
    #[test]
    fn contents_are_those_of_the_files() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/herder");
        for (path, content) in FILES {
            assert_eq!(*content, fs::read_to_string(folder.join(path)).expect("the file"), "{path}");
        }
    }
}
