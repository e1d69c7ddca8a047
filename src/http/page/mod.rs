//! The live page, `GET /`, and its files, `GET /ui/{file}`. They hold no data and need no token: a browser cannot send a token with
//! the address of a page, so the page asks for it. Holds only its settings.
//!
//! The files are compiled into the program. `ui/main.js` starts the page; each other module has one part of it.

use super::{page_file, refusal::Refusal};
use actix_web::{HttpRequest, HttpResponse, web};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Makes the table of files: name, content type and content.
macro_rules! files {
    ($($name:literal $kind:ident),* $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("ui/", $name)))),*]
    };
}

const FILES: &[(&str, &str, &str)] = files![
    "api.js" JS,
    "command_form.js" JS,
    "commands.js" JS,
    "dialog.js" JS,
    "dom.js" JS,
    "event_list.js" JS,
    "events.js" JS,
    "format.js" JS,
    "icon.svg" SVG,
    "json_text.js" JS,
    "main.js" JS,
    "overview.js" JS,
    "page.css" CSS,
    "parts.js" JS,
    "poll.js" JS,
    "pool.js" JS,
    "protection.js" JS,
    "schema.js" JS,
    "sessions.js" JS,
    "sparkline.js" JS,
    "table.js" JS,
    "timeline.js" JS,
    "timeline_canvas.js" JS,
    "timeline_data.js" JS,
    "worker.js" JS,
    "workers.js" JS,
];

/// The settings of the page.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Page {
    /// Whether the page exists. `None`: if the server listens on loopback.
    pub(super) enabled: Option<bool>,
    /// Whether `/docs` exists, which uses some of the files as well.
    pub(super) docs_enabled: Option<bool>,
}

/// Returns whether a path is that of the page or of one of its files, which need no token. An application may mount routes at
/// other paths below `/ui/`.
pub(super) fn is_open(path: &str) -> bool {
    path == "/" || path.strip_prefix("/ui/").is_some_and(|name| FILES.iter().any(|(file, ..)| *file == name))
}

/// `GET /`.
pub(super) async fn index(request: HttpRequest, page: web::Data<Page>) -> Result<HttpResponse, Refusal> {
    if !page_file::is_enabled(page.enabled, &request) {
        return Err(Refusal::PageOff { page: "the live page", option: "page" });
    }
    Ok(page_file::answer(HTML, include_str!("index.html")))
}

/// `GET /ui/{file}`.
pub(super) async fn file(
    request: HttpRequest,
    name: web::Path<String>,
    page: web::Data<Page>,
) -> Result<HttpResponse, Refusal> {
    let is_on = [page.enabled, page.docs_enabled].iter().any(|setting| page_file::is_enabled(*setting, &request));
    let found = FILES.iter().find(|(file, ..)| *file == name.as_str()).filter(|_| is_on);
    let (_, kind, content) = found.ok_or_else(|| page_file::no_route(&request))?;
    Ok(page_file::answer(kind, *content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    /// Each file in the folder is served, and none but the module graph of `main.js` and the page of commands is there.
    #[test]
    fn every_file_is_served_and_used() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/page/ui");
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, FILES.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
        let uses = |text: &str, name: &str| {
            text.contains(&format!("\"./{name}\"")) || text.contains(&format!("\"ui/{name}\""))
        };
        for name in names {
            let used = uses(include_str!("index.html"), &name) || FILES.iter().any(|(_, _, text)| uses(text, &name));
            assert!(used, "no file uses {name}");
        }
    }

    /// An application can mount the routes of pools below `/ui`, and these need a token.
    #[test]
    fn only_the_page_and_its_files_need_no_token() {
        assert!(["/", "/ui/main.js", "/ui/page.css"].into_iter().all(is_open));
        for path in ["/ui/", "/ui/v1/pools/p/call/echo", "/ui/openapi.json", "/ui/mcp", "/ui/../metrics", "/uimain.js"]
        {
            assert!(!is_open(path), "{path}");
        }
    }

    /// The Content-Security-Policy refuses styles and scripts inside of the page; texts of workers are never read as HTML.
    #[test]
    fn no_file_contains_what_the_policy_refuses() {
        let texts =
            FILES.iter().map(|(name, _, text)| (*name, *text)).chain([("index.html", include_str!("index.html"))]);
        for (name, text) in texts {
            for banned in [
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "document.write",
                "eval(",
                ".style",
                "style=",
                "<style",
                "onclick=\"",
                "localStorage",
                "sessionStorage",
                "document.cookie",
            ] {
                assert!(!text.contains(banned), "{name} contains {banned}");
            }
        }
    }
}
