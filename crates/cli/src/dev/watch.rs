//! The watched files. Reports what was saved, once for each burst of events: editors write a file in several steps.

use crate::error::{CommandError, Outcome};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    time::{Instant, timeout_at},
};

/// The files count as saved when nothing has happened for this time.
const QUIET: Duration = Duration::from_millis(60);
/// The largest number of watched folders: each costs a watch of the system, of which a user has a limited number.
const MAX_FOLDERS: usize = 4096;

/// What is watched: the Python files in folders and below, and single files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) folders: BTreeSet<PathBuf>,
    pub(super) files: BTreeSet<PathBuf>,
}

/// Watches files until it is dropped.
pub(super) struct Saves {
    watched: Watched,
    watcher: RecommendedWatcher,
    events: UnboundedReceiver<Event>,
    folders: usize,
}

impl Watched {
    /// Adds a file, or a folder.
    ///
    /// # Errors
    /// Fails if the path does not exist.
    pub(super) fn add(&mut self, path: &Path) -> Outcome {
        let real = fs::canonicalize(path)
            .map_err(|error| CommandError::usage(format_args!("cannot watch {}: {error}", path.display())))?;
        if real.is_dir() {
            self.folders.insert(real)
        } else {
            self.files.insert(real)
        };
        Ok(())
    }

    fn contains(&self, path: &Path) -> bool {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let is_python = name.ends_with(".py") && !name.starts_with(['.', '#']);
        self.files.contains(path) || (is_python && self.folders.iter().any(|folder| path.starts_with(folder)))
    }
}

impl Saves {
    /// Starts to watch.
    pub(super) fn start(watched: Watched) -> Outcome<Self> {
        let (sender, events) = mpsc::unbounded_channel();
        // An error of a single event, such as an overflow of the system's queue, is not worth ending the session.
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Some(event) = event.ok().filter(changes_content) {
                _ = sender.send(event);
            }
        });
        let mut saves = Self { watcher: watcher.map_err(|error| failed(&error))?, events, folders: 0, watched };
        let Watched { folders, files } = saves.watched.clone();
        folders.iter().try_for_each(|folder| saves.watch_tree(folder))?;
        // An editor replaces a file by another one, and a watch would stay with the first. So its folder is watched.
        files.iter().filter_map(|file| file.parent()).try_for_each(|folder| saves.watch(folder))?;
        Ok(saves)
    }

    /// Watches a folder and those in it, except for those without code of the application.
    fn watch_tree(&mut self, folder: &Path) -> Outcome {
        self.watch(folder)?;
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            // A link is not followed: it could lead in a circle.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !is_ignored(&entry.path()) {
                self.watch_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    fn watch(&mut self, folder: &Path) -> Outcome {
        self.folders += 1;
        if self.folders > MAX_FOLDERS {
            return Err(CommandError::failed(format_args!(
                "cannot watch more than {MAX_FOLDERS} folders; start `herder dev` in a folder that contains only the app"
            )));
        }
        self.watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|error| failed(&error))
    }

    /// Waits until files were saved, and returns them. Not cancel safe.
    pub(super) async fn next(&mut self) -> Option<BTreeSet<PathBuf>> {
        let mut saved = BTreeSet::new();
        while saved.is_empty() {
            let event = self.events.recv().await?;
            self.collect(event, &mut saved);
        }
        // Only saves extend the wait: a log file in the folder may change all the time.
        let mut until = quiet_at();
        while let Ok(Some(event)) = next_before(until, &mut self.events).await {
            if self.collect(event, &mut saved) {
                until = quiet_at();
            }
        }
        Some(saved)
    }

    /// Adds the watched files of an event. Returns whether there are any.
    fn collect(&mut self, event: Event, saved: &mut BTreeSet<PathBuf>) -> bool {
        let mut is_save = false;
        for path in event.paths {
            if path.is_dir() && !is_ignored(&path) {
                self.add_folder(&path, saved);
            } else if self.watched.contains(&path) {
                is_save = true;
                saved.insert(path);
            }
        }
        is_save
    }

    /// Watches a new folder. Its files may have been written before it was watched.
    fn add_folder(&mut self, folder: &Path, saved: &mut BTreeSet<PathBuf>) {
        if !self.watched.folders.iter().any(|watched| folder.starts_with(watched)) || self.watch_tree(folder).is_err() {
            return;
        }
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        saved.extend(entries.map(|entry| entry.path()).filter(|path| self.watched.contains(path)));
    }
}

/// Returns whether an event may have changed code. Reading a file, and changing its times or rights, does not.
fn changes_content(event: &Event) -> bool {
    !matches!(event.kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)))
}

#[expect(clippy::disallowed_methods, reason = "waits for the last step in which an editor saves a file")]
fn quiet_at() -> Instant {
    Instant::now() + QUIET
}

/// Waits for the next event until this time. Fails when it has passed, however many events there are.
#[expect(clippy::disallowed_methods, reason = "waits for the last step in which an editor saves a file")]
async fn next_before(until: Instant, events: &mut UnboundedReceiver<Event>) -> Result<Option<Event>, ()> {
    if Instant::now() >= until {
        return Err(());
    }
    timeout_at(until, events.recv()).await.map_err(drop)
}

/// Returns whether a folder contains no code of the application: bytecode, hidden folders, and virtual environments.
fn is_ignored(folder: &Path) -> bool {
    let name = folder.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    matches!(&*name, "__pycache__" | "node_modules" | "site-packages")
        || name.starts_with('.')
        || folder.join("pyvenv.cfg").exists()
}

fn failed(error: &notify::Error) -> CommandError {
    CommandError::failed(format_args!("cannot watch files: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_of_editors_and_environments_are_not_watched() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let mut watched = Watched::default();
        watched.add(&root).unwrap();
        fs::write(root.join("settings.toml"), "").unwrap();
        watched.add(&root.join("settings.toml")).unwrap();
        for (name, expected) in [
            ("app.py", true),
            ("shop/prices.py", true),
            ("settings.toml", true),
            ("other.toml", false),
            (".#app.py", false),
            ("app.py~", false),
            (".app.py.swp", false),
            ("4913", false),
        ] {
            assert_eq!(watched.contains(&root.join(name)), expected, "{name}");
        }
        fs::create_dir_all(root.join("env/bin")).unwrap();
        fs::write(root.join("env/pyvenv.cfg"), "").unwrap();
        assert!(
            is_ignored(&root.join("env")) && is_ignored(&root.join(".git")) && is_ignored(&root.join("__pycache__"))
        );
        assert!(!is_ignored(&root.join("shop")));
    }
}
