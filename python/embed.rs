//! The files of the `herder` Python package, embedded. This crate has no state and does no I/O; `herder-actors`
//! writes the files to a folder where `python3` finds them.

/// Expands to pairs of each path and the content of that file in `src/herder`.
macro_rules! embed {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("src/herder/", $path)))),*]
    };
}

/// All files of the package: the path relative to `herder`, and the content.
pub const FILES: &[(&str, &str)] = embed![
    "__init__.py",
    "__main__.py",
    "aio.py",
    "aio_batches.py",
    "aio_calls.py",
    "aio_health.py",
    "aio_hooks.py",
    "aio_input.py",
    "aio_loop.py",
    "aio_plain.py",
    "aio_reader.py",
    "aio_recovery.py",
    "aio_starts.py",
    "aio_streams.py",
    "aio_threads.py",
    "annotations.py",
    "app.py",
    "argument_errors.py",
    "arrow.py",
    "batches.py",
    "binding.py",
    "breakpoints.py",
    "buffers.py",
    "bytecode.py",
    "call.py",
    "codec.py",
    "contexts.py",
    "control.py",
    "demo.py",
    "dependencies.py",
    "dependency_streams.py",
    "dependency_values.py",
    "depends.py",
    "descriptor_io.py",
    "docstrings.py",
    "error_frames.py",
    "errors.py",
    "frames.py",
    "fresh_sources.py",
    "health.py",
    "hooks.py",
    "installed.py",
    "lifecycle.py",
    "load.py",
    "log_hooks.py",
    "log_output.py",
    "loop.py",
    "meta.py",
    "notebook.py",
    "orjson_codec.py",
    "py.typed",
    "result_arrays.py",
    "result_forms.py",
    "results.py",
    "schemas.py",
    "session.py",
    "signals.py",
    "signatures.py",
    "slabs.py",
    "start_hints.py",
    "stdlib.py",
    "streams.py",
    "template.py",
    "tensors.py",
    "testing.py",
    "testing_streams.py",
    "text.py",
    "typed.py",
    "typed_arguments.py",
    "typed_arrays.py",
    "typed_constraints.py",
    "typed_containers.py",
    "typed_foreign.py",
    "typed_nodes.py",
    "typed_records.py",
    "typed_schemas.py",
    "typed_source.py",
    "typed_times.py",
    "typed_values.py",
    "worker.py",
];

#[cfg(test)]
mod tests {
    use super::FILES;
    use std::{fs, path::Path};

    /// Appends the paths of all files below `folder` to `paths`, each after `prefix`. Skips the bytecode that Python writes.
    fn list_files(folder: &Path, prefix: &str, paths: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("the package's folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            let path = format!("{prefix}{name}");
            if name == "__pycache__" {
                continue;
            } else if entry.file_type().expect("a file type").is_dir() {
                list_files(&entry.path(), &format!("{path}/"), paths);
            } else {
                paths.push(path);
            }
        }
    }

    /// A worker needs all files of the package, since its `python3` may have no packages installed.
    #[test]
    fn every_file_of_the_package_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/herder");
        let mut paths = Vec::new();
        list_files(&folder, "", &mut paths);
        paths.sort();
        let embedded: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        assert_eq!(embedded, paths);
    }

    /// The package has the version of the workspace: the wheel has that version, and workers compare it with an installed
    /// package.
    #[test]
    fn r74_the_package_has_the_version_of_the_crate() {
        let (_, init) = FILES.iter().find(|(path, _)| *path == "__init__.py").expect("the package's main file");
        assert!(init.contains(concat!("\n__version__ = \"", env!("CARGO_PKG_VERSION"), "\"\n")));
    }

    /// The embedded contents equal those of the files.
    #[test]
    fn embedded_contents_equal_the_files() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/herder");
        for (path, content) in FILES {
            assert_eq!(*content, fs::read_to_string(folder.join(path)).expect("the file"), "{path}");
        }
    }
}
