//! Buffers over HTTP and with `herder call`: forms in, a single buffer or `multipart/mixed` out (R43).

use crate::support::{Reply, Server, folder, herder, post, sh, wait_until};
use serde_json::json;
use std::fs;

const CONFIG: &str = "[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\nmax_frame = 1048576\n";
const APP: &str = r#"
import herder
app = herder.App()

@app.command
def describe(image, title: str = "", width: int = 0):
    return [bytes(image).decode("latin-1"), type(image).__name__, title, width]

@app.command
def shout(image: bytes, times: int = 1):
    return {"image": herder.Buffer(image.upper() * times, media_type="image/x-text"), "times": times}

@app.command
def document(args):
    return herder.Buffer(args, media_type="application/json")

@app.command
def pair():
    return [b"one", b"two"]
"#;

fn server() -> Server {
    server_with(CONFIG)
}

fn server_with(config: &str) -> Server {
    let folder = folder(config);
    fs::write(folder.path().join("app.py"), APP).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    server
}

/// Sends a form of these parts, each with its headers and its data.
fn form(server: &Server, command: &str, accept: &str, parts: &[(&str, &str)]) -> Reply {
    let part = |(head, data): &(&str, &str)| format!("--B\r\nContent-Disposition: form-data; {head}\r\n\r\n{data}\r\n");
    let body = parts.iter().map(part).collect::<String>() + "--B--\r\n";
    let request = post(&format!("/v1/pools/one/call/{command}"), &body);
    let request = request.header("Content-Type", "multipart/form-data; boundary=B").header("Accept", accept);
    request.send(server.address)
}

#[test]
fn r43_files_of_a_form_are_buffers() {
    let server = server();
    let image = ("name=\"image\"; filename=\"cat.png\"\r\nContent-Type: image/png", "\r\na\0b");
    let width = ("name=\"width\"\r\nContent-Type: application/json", "64");
    let reply = form(&server, "describe", "*/*", &[image, ("name=\"title\"", "a \"cat\""), width]);
    assert_eq!(reply.result(), &json!(["\r\na\0b", "memoryview", "a \"cat\"", 64]));
    let arguments = ("name=\"args\"", "{\"title\": \"x\"}");
    assert_eq!(form(&server, "describe", "*/*", &[image, arguments]).result()[2], "x");
    let large = "x".repeat(300_000); // parsed on another thread
    let reply = form(&server, "shout", "image/x-text", &[(image.0, &large)]);
    assert!(reply.body == large.to_uppercase(), "{} bytes", reply.body.len());
    let too_large = "x".repeat(1 << 20);
    form(&server, "shout", "*/*", &[(image.0, &too_large)]).problem(413, "too-large");
    form(&server, "describe", "*/*", &[image, ("name=\"title\"", "\"x"), ("name=\"title\"", "")])
        .problem(400, "malformed");
    form(&server, "describe", "*/*", &[("name=\"args\"", "[]")]).problem(400, "malformed");
    let refused = form(&server, "describe", "*/*", &[image, ("name=\"args\"", "{\"image\": 1}")]);
    assert!(refused.problem(422, "bad-arguments")["detail"].as_str().unwrap().contains("given twice"), "{refused:?}");
}

/// R43: `curl -F width=64` sends a string. The error says how to send the number; one that has another cause does not.
#[test]
fn r43_a_json_value_that_a_form_sends_as_a_string_is_explained() {
    let server = server();
    let image = ("name=\"image\"; filename=\"cat.png\"", "cat");
    for (accept, width, is_explained) in
        [("*/*", "64", true), ("application/x-ndjson", "[6, 4]", true), ("*/*", "wide", false)]
    {
        let reply = form(&server, "describe", accept, &[image, ("name=\"title\"", "7"), ("name=\"width\"", width)]);
        let detail = reply.problem(422, "bad-arguments")["detail"].as_str().unwrap();
        let hint = "(with curl: -F 'width=VALUE;type=application/json')";
        assert_eq!(detail.ends_with(hint), is_explained, "{detail}");
    }
}

/// The commands of `docs/buffers.md` work on its app, with the address of this server.
#[test]
fn r43_the_commands_of_the_page_work() {
    let page = include_str!("../../../docs/buffers.md");
    let block = |kind: &str| page.split(kind).nth(1).unwrap().split("```").next().unwrap();
    let folder = folder("[pools.files]\napp = 'files.py:app'\npool_size = 1\n");
    fs::write(folder.path().join("files.py"), block("```python\n")).unwrap();
    let notes = "a note, and another note\n".repeat(1000);
    fs::write(folder.path().join("notes.txt"), &notes).unwrap();
    let server = Server::start(folder, &[], &[]);
    server.until_ready();
    let herder = env!("CARGO_BIN_EXE_herder");
    for command in block("```console\n").lines().filter(|line| !line.contains("herder serve")) {
        let command = command.strip_prefix("$ ").unwrap().replace("http://127.0.0.1:7878", &server.url());
        let command = command.replace("herder call", &format!("{herder} call --url {}", server.url()));
        let script = format!("set -e; {command}; gzip -dc notes.gz; rm notes.gz");
        let output = sh(server.folder.path(), &script);
        assert!(output.stdout == notes.as_bytes(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn r43_a_result_is_what_the_client_accepts() {
    let server = server();
    let image = ("name=\"image\"; filename=\"a\"", "abc");
    let plain = form(&server, "shout", "application/json", &[image]);
    assert_eq!(plain.result(), &json!({ "image": "QUJD", "times": 1 }));
    for accept in ["image/x-text", "image/*", "application/octet-stream"] {
        let reply = form(&server, "shout", accept, &[image]);
        assert_eq!((reply.status, reply.header("content-type"), &*reply.body), (200, Some("image/x-text"), "ABC"));
        assert_eq!(reply.header("herder-pointer"), Some("/image"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
    let mixed = form(&server, "shout", "multipart/mixed", &[image]);
    let boundary = mixed.header("content-type").unwrap().strip_prefix("multipart/mixed; boundary=").unwrap();
    let delimiter = format!("--{boundary}");
    let parts: Vec<_> = mixed.body.split(&delimiter).collect();
    assert_eq!((parts.len(), parts[0], parts[3]), (4, "", "--\r\n"), "{mixed:?}");
    assert!(parts[1].contains("{\"result\":{\"image\":null,\"times\":1},\"meta\":{\"worker\":\"w1\""), "{mixed:?}");
    let expected = "\r\nContent-Type: image/x-text\r\nContent-Length: 3\r\nHerder-Pointer: /image\r\n\r\nABC\r\n";
    assert_eq!(parts[2], expected);
    let pair = post("/v1/pools/one/call/pair", "").header("Accept", "application/octet-stream").send(server.address);
    assert!(pair.header("content-type").unwrap().starts_with("multipart/mixed"), "several buffers: {pair:?}");
    let none = form(&server, "describe", "application/octet-stream", &[image]);
    assert_eq!(none.result()[0], "abc", "no buffer: {none:?}");
    form(&server, "no", "image/png", &[]).problem(404, "unknown-command");
}

#[test]
fn r43_the_command_line_attaches_and_writes_files() {
    let server = server();
    let path = |name: &str| server.file(name);
    fs::write(path("in.bin"), b"a\0b").unwrap();
    let run = |args: &[&str], is_local: bool| {
        let mut command = herder(server.file("").as_path(), &[]);
        command.args(["call", "one"]).args(args);
        if !is_local {
            command.args(["--url", &server.url()]);
        }
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let attach = ["--attach", "image=@in.bin"];
    let (code, out, error) = run(&["describe", r#"{"width": 2}"#, attach[0], attach[1]], false);
    assert_eq!((code, &*out), (0, "[\"a\\u0000b\",\"memoryview\",\"\",2]\n"), "{error}");
    let (code, out, error) = run(&["shout", "--arg", "times=2", attach[0], attach[1], "--output", "out.bin"], false);
    assert_eq!((code, &*out), (0, ""), "{error}");
    assert_eq!(fs::read(path("out.bin")).unwrap(), b"A\0BA\0B");
    let (code, out, error) = run(&["shout", attach[0], attach[1], "--output", "-"], true);
    assert_eq!((code, &*out), (0, "A\0B"), "{error}");
    for is_local in [false, true] {
        let (code, _, error) = run(&["pair", "--output", "out.bin"], is_local);
        assert!(code == 1 && error.contains("several buffers"), "{error}");
        // A buffer of the type of JSON, which is the whole result; the argument has the name of the part with the others.
        let (code, out, error) = run(&["document", "--attach", "args=@in.bin", "--output", "-"], is_local);
        assert_eq!((code, &*out), (0, "a\0b"), "{error}");
    }
    let (code, _, error) = run(&["shout", "-", "--attach", "image=@-"], false);
    assert!(code == 2 && error.contains("only once"), "{error}");
    let (code, _, error) = run(&["describe", attach[0], attach[1], "--output", "out.bin"], false);
    assert!(code == 1 && error.contains("no buffer"), "{error}");
    for refused in [["--attach", "image=in.bin"], ["--attach", "image=@none.bin"]] {
        let (code, _, error) = run(&["shout", refused[0], refused[1]], false);
        assert_eq!(code, 2, "{error}");
    }
}

/// R68: a binary response counts until its connection has taken all of it, which is more than the buffers of a socket hold.
#[test]
fn r68_the_memory_of_a_binary_response_is_counted() {
    let server = server_with(&CONFIG.replace("1048576", "16777216"));
    let body = "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"f\"\r\n\r\nxxxxxxxxxx\r\n--B\r\n\
        Content-Disposition: form-data; name=\"times\"\r\nContent-Type: application/json\r\n\r\n1600000\r\n--B--\r\n";
    let buffered = || server.get("/v1/pools").json["buffered_bytes"].as_u64().unwrap();
    for accept in ["image/x-text", "multipart/mixed"] {
        let request = post("/v1/pools/one/call/shout", body).header("Accept", accept);
        let client = request.header("Content-Type", "multipart/form-data; boundary=B").open(server.address);
        wait_until("the unread response is counted", || buffered() >= 16_000_000);
        drop(client);
        wait_until("nothing is counted", || buffered() == 0);
    }
}
