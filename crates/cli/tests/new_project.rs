//! `herder init`: each line that the project and the command name is executed.

use crate::support::{Server, herder};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = herder(folder, args).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The check and calls of a new project, for both worker types. Its tests run in `python/tests/test_new_project.py`.
#[test]
fn every_line_of_a_new_project_runs() {
    let calls = [
        ("greet", r#"{"name": "Ann"}"#, None, json!(["Hello, Ann!"])),
        ("add", r#"{"item": "tea"}"#, Some("ann"), json!(["tea"])),
    ];
    for (command, arguments, session, result) in calls {
        let folder = tempfile::tempdir().unwrap();
        let enhanced = session.is_some().then_some("--enhanced");
        let args: Vec<_> = ["init", "shop"].into_iter().chain(enhanced).collect();
        let (code, text) = run(folder.path(), &args);
        let next = format!("  cd shop\n  herder dev\n  herder call shop {command} '{arguments}'");
        assert!(code == Some(0) && text.contains(&next), "{text}");
        let project = folder.path().join("shop");
        let (code, text) = run(&project, &["check", "--import"]);
        assert!(code == Some(0) && text.contains("ok: 1 pool: shop ("), "{text}");
        let config = fs::read_to_string(project.join("herder.toml")).unwrap();
        fs::write(project.join("herder.toml"), config.replace("7878", "0")).unwrap();
        let server = Server::in_environment(folder, |serve| _ = serve.current_dir(&project));
        server.until_ready();
        let (url, mut args) = (server.url(), vec!["call", "shop", command, arguments]);
        args.extend(["--url", &url]);
        args.extend(session.into_iter().flat_map(|session| ["--session", session]));
        let (code, text) = run(&project, &args);
        assert_eq!((code, serde_json::from_str::<Value>(&text).ok()), (Some(0), Some(result)), "{text}");
        let (code, text) = run(&project, &["init"]);
        assert!(code == Some(1) && text.contains("already has app.py, test_app.py, herder.toml"), "{text}");
        let readme = fs::read_to_string(project.join("README.md")).unwrap();
        assert!(readme.contains(&format!("herder call shop {command} '{arguments}'")), "{readme}");
        assert!(!readme.contains("NAME"), "{readme}");
    }
}

#[test]
fn a_folder_whose_name_is_no_pool_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = run(folder.path(), &["init", "my shop"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("`my shop` is not a pool name") && !folder.path().join("my shop").exists(), "{text}");
}
