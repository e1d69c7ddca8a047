//! Forms (`multipart/form-data`) as the arguments of a call: a file becomes a buffer, the other parts become values of the JSON
//! object. The whole body is in memory, within the limits of all bodies; buffers share its memory. Pure, except for [`arguments`].

use super::{
    body_check::{self, LONG},
    body_reader::{BodyReader, Failed},
};
use crate::{Buffer, body_buffers::Room};
use actix_web::{
    HttpRequest,
    dev::Payload,
    http::header::{self, ContentDisposition, HeaderMap, HeaderValue},
    web,
};
use bytes::Bytes;
use herder_actors::{ArgumentStep, Error, check_json, check_json_object, without_byte_order_mark};
use memchr::memmem;
use std::collections::HashSet;

/// The name of the part whose JSON object has the arguments that are no parts of their own.
const ARGUMENTS: &str = "args";

/// The maximum number of parts. More than 1024 buffers are refused later.
const MAX_PARTS: usize = 2048;
/// The maximum length of the headers of a part, in bytes. Their fields take more memory than their text.
const MAX_HEAD: usize = 8 * 1024;

/// The maximum number of names that are kept for a hint, and of bytes of each: they are not counted as memory of bodies.
const MAX_HINTS: usize = 16;
const MAX_HINT_NAME: usize = 128;

/// The arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// A JSON object.
    pub(super) json: Bytes,
    /// The buffers, by name.
    pub(super) buffers: Vec<(String, Buffer)>,
    pub(super) texts: JsonTexts,
}

/// The names of the parts that the form sent as strings although they are valid JSON. A client that forgot their type, as
/// `curl -F width=64` does, gets a hint.
#[derive(Debug, Default)]
pub(super) struct JsonTexts(Vec<String>);

impl JsonTexts {
    /// Adds the hint to an error about one of these arguments.
    pub(super) fn explain(&self, error: Error) -> Error {
        let Error::BadArguments { mut message, errors } = error else { return error };
        let is_meant = |name: &&String| {
            errors.iter().any(|error| matches!(error.loc.first(), Some(ArgumentStep::Key(key)) if key == *name))
        };
        if let Some(name) = self.0.iter().find(is_meant) {
            message.push_str(&format!(
                "; the form sent `{name}` as a string: a part that is a JSON value needs the type `application/json` \
                 (with curl: -F '{name}=VALUE;type=application/json')"
            ));
        }
        Error::BadArguments { message, errors }
    }
}

/// Reads and checks the arguments of a call, in JSON or as a form.
pub(super) async fn arguments(
    request: &HttpRequest,
    body: &mut Payload,
    reader: BodyReader<'_>,
) -> actix_web::Result<Result<Arguments, Failed>> {
    let Some(boundary) = boundary(request.headers()) else {
        let arguments = body_check::arguments(request, body, reader).await?;
        return Ok(arguments.map(|json| Arguments { json, ..Arguments::default() }));
    };
    let boundary = match boundary {
        Ok(boundary) => boundary,
        Err(error) => return Ok(Err(error.into())),
    };
    let body = match reader.body(request, body).await {
        Ok(body) => body,
        Err(failed) => return Ok(Err(failed)),
    };
    let reserve = reader.reservation();
    Ok(match body.len() {
        0..LONG => parse(&body, &boundary, reserve),
        // As in `body_check`: the search would block the other connections.
        _ => web::block(move || parse(&body, &boundary, reserve)).await?,
    })
}

/// Returns the boundary of a form, or an error if it has none; `None` if the body is no form.
fn boundary(headers: &HeaderMap) -> Option<Result<String, Error>> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
    if !kind.trim_ascii().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_boundary = name.trim_ascii().eq_ignore_ascii_case("boundary");
        is_boundary.then(|| value.trim_ascii().trim_matches('"'))
    });
    // With an empty one, every line that begins with `--` would end a part.
    let found = found.filter(|boundary| !boundary.is_empty()).map(ToOwned::to_owned);
    Some(found.ok_or_else(|| malformed("its `Content-Type` has no boundary")))
}

/// Parses a form into a JSON object and buffers. `reserve` is asked for the space of the object before it is written: texts with
/// control characters are six times as long in JSON.
fn parse(
    body: &Bytes,
    boundary: &str,
    reserve: impl FnOnce(usize) -> Result<Room, Failed>,
) -> Result<Arguments, Failed> {
    let (mut object, mut members, mut buffers) = (None, Vec::new(), Vec::new());
    let mut names = HashSet::new();
    for part in parts(body, boundary)? {
        let part = Part::parse(&part)?;
        let kind = part.kind();
        let is_object = part.name == ARGUMENTS && matches!(kind, Kind::Json);
        // The object may stand beside an argument of its name.
        if !names.insert((is_object, part.name.clone())) {
            return Err(malformed(format_args!("the form has the part `{}` twice", part.name)).into());
        }
        match kind {
            Kind::Buffer => buffers.push((part.name.clone(), part.into_buffer()?)),
            Kind::Text => members.push((part, Kind::Text)),
            Kind::Json if is_object => {
                check_json_object(&part.data).map_err(|error| part.malformed(&error))?;
                object = Some(part);
            }
            Kind::Json => {
                check_json(part.text()?.as_bytes()).map_err(|error| part.malformed(&error))?;
                members.push((part, Kind::Json));
            }
        }
    }
    let json = joined(object.as_ref(), &members, reserve)?;
    let is_json = |part: &Part| part.text().is_ok_and(|text| check_json(text.as_bytes()).is_ok());
    let is_meant =
        |(part, kind): &(Part, Kind)| matches!(kind, Kind::Text) && part.name.len() <= MAX_HINT_NAME && is_json(part);
    let texts = members.into_iter().filter(is_meant).map(|(part, _)| part.name).take(MAX_HINTS);
    Ok(Arguments { json, buffers, texts: JsonTexts(texts.collect()) })
}

/// Returns the object with these members. Those in JSON were checked to be valid.
fn joined(
    object: Option<&Part>,
    members: &[(Part, Kind)],
    reserve: impl FnOnce(usize) -> Result<Room, Failed>,
) -> Result<Bytes, Failed> {
    let object = object.map_or(Ok(""), Part::text)?.trim();
    let inner = object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default().trim();
    let mut length = 2 + inner.len();
    let mut values = Vec::new();
    for (part, kind) in members {
        let text = part.text()?;
        let value = if matches!(kind, Kind::Text) { quoted_length(text) } else { text.len() };
        length += quoted_length(&part.name) + value + 2; // with a colon and a comma
        values.push((&part.name, kind, text));
    }
    let room = reserve(length)?;
    let mut json = Vec::with_capacity(length);
    json.push(b'{');
    json.extend_from_slice(inner.as_bytes());
    for (name, kind, text) in values {
        if json.len() > 1 {
            json.push(b',');
        }
        serde_json::to_writer(&mut json, name).map_err(Error::malformed)?;
        json.push(b':');
        match kind {
            Kind::Text => serde_json::to_writer(&mut json, text).map_err(Error::malformed)?,
            Kind::Json | Kind::Buffer => json.extend_from_slice(text.as_bytes()),
        }
    }
    json.push(b'}');
    body_check::check(&json).map_err(Error::malformed)?;
    Ok(room.hold(json))
}

/// Returns the length of a text as a string in JSON.
fn quoted_length(text: &str) -> usize {
    let length = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2_usize,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(length).sum::<usize>()
}

/// Splits a form into its parts (RFC 2046), each with its headers. The parts share the memory of the body.
fn parts(body: &Bytes, boundary: &str) -> Result<Vec<Bytes>, Error> {
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(&delimiter);
    // The first delimiter may be at the very begin, without a line break before it.
    let mut at = match body.starts_with(&delimiter.as_bytes()[2..]) {
        true => delimiter.len() - 2,
        false => finder.find(body).map(|begin| begin + delimiter.len()).ok_or_else(|| incomplete(boundary))?,
    };
    let mut parts = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        if parts.len() == MAX_PARTS {
            return Err(malformed(format_args!(
                "it has more than {MAX_PARTS} parts; pass them as one part `{ARGUMENTS}`"
            )));
        }
        let line = memmem::find(rest, b"\r\n").ok_or_else(|| incomplete(boundary))?;
        let begin = at + line + 2;
        // A part without headers begins with an empty line, whose break is the one before the next delimiter, if it is empty.
        let end = finder.find(&body[begin - 2..]).ok_or_else(|| incomplete(boundary))?;
        let end = (begin - 2 + end).max(begin);
        parts.push(body.slice(begin..end));
        at = finder.find(&body[begin - 2..]).map_or(body.len(), |found| begin - 2 + found + delimiter.len());
    }
}

fn incomplete(boundary: &str) -> Error {
    malformed(format_args!("the closing line `--{boundary}--` is missing"))
}

fn malformed(reason: impl std::fmt::Display) -> Error {
    Error::Malformed { message: format!("the form is malformed: {reason}"), cause: None }
}

/// A part of a form.
struct Part {
    name: String,
    is_file: bool,
    /// In lower case and without parameters; empty if there is none.
    media_type: String,
    data: Bytes,
}

/// What a part becomes.
enum Kind {
    Buffer,
    Json,
    Text,
}

impl Part {
    fn parse(part: &Bytes) -> Result<Self, Error> {
        let (head, data) = match memmem::find(part, b"\r\n\r\n") {
            _ if part.starts_with(b"\r\n") => (0, 2),
            Some(end) if end > MAX_HEAD => {
                return Err(malformed(format_args!("the headers of a part are longer than {MAX_HEAD} bytes")));
            }
            Some(end) => (end, end + 4),
            None => return Err(malformed("a part has no empty line after its headers")),
        };
        let header = |name: &str| {
            let lines = part[..head].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let mut found = lines.filter_map(|line| line.split_at_checked(line.iter().position(|byte| *byte == b':')?));
            let value = found.find(|(key, _)| key.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))?.1;
            HeaderValue::from_bytes(value[1..].trim_ascii()).ok()
        };
        let disposition = header("content-disposition").and_then(|value| ContentDisposition::from_raw(&value).ok());
        let disposition = disposition.ok_or_else(|| malformed("a part has no `Content-Disposition` with a name"))?;
        let name = disposition.get_name().ok_or_else(|| malformed("a part has no name"))?.to_owned();
        let is_file = disposition.get_filename().is_some() || disposition.get_filename_ext().is_some();
        let media_type = header("content-type").and_then(|value| value.to_str().ok().map(str::to_ascii_lowercase));
        let media_type = media_type.unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim_ascii().to_owned();
        Ok(Self { name, is_file, media_type, data: part.slice(data..) })
    }

    fn kind(&self) -> Kind {
        let is_json = self.media_type == "application/json" || self.media_type.ends_with("+json");
        match (self.is_file, &*self.media_type) {
            (is_file, _) if self.name == ARGUMENTS && (is_json || !is_file) => Kind::Json,
            (true, _) => Kind::Buffer,
            (false, _) if is_json => Kind::Json,
            (false, "") => Kind::Text,
            (false, kind) if kind.starts_with("text/") => Kind::Text,
            (false, _) => Kind::Buffer,
        }
    }

    fn text(&self) -> Result<&str, Error> {
        let text = std::str::from_utf8(without_byte_order_mark(&self.data));
        text.map_err(|_| malformed(format_args!("the part `{}` is not valid UTF-8", self.name)))
    }

    fn malformed(&self, error: &herder_actors::PayloadError) -> Error {
        malformed(format_args!("the part `{}` is {error}", self.name))
    }

    fn into_buffer(self) -> Result<Buffer, Error> {
        let buffer = Buffer::from(self.data);
        match &*self.media_type {
            "" | "application/octet-stream" => Ok(buffer),
            name => buffer.with_media_type(name).map_err(Error::malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body_buffers::Buffers;
    use proptest::prelude::*;

    type Shown = (String, Vec<(String, Bytes, Option<String>)>);

    fn read(body: &str) -> Result<Shown, String> {
        let reserve = |_| Ok(Room::none(&Buffers::new(0)));
        let found = parse(&body.to_owned().into(), "B", reserve).map_err(|failed| match failed {
            Failed::Call(error) => error.to_string(),
            Failed::Request(refusal) => refusal.to_string(),
        });
        let Arguments { json, buffers, .. } = found?;
        let shown = |(name, buffer): (String, Buffer)| {
            (name, buffer.bytes().clone(), buffer.media_type().map(ToOwned::to_owned))
        };
        let json = String::from_utf8(json.to_vec()).unwrap();
        Ok((json, buffers.into_iter().map(shown).collect()))
    }

    #[test]
    fn files_are_buffers_and_other_parts_are_values() {
        let form = "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"cat.png\"\r\nContent-Type: image/png\r\n\r\n\
            a\r\n--C\r\n\r\n--B\r\ncontent-disposition: form-data; name=\"title\"\r\n\r\n\"cat\" \u{e4}\r\n--B\r\n\
            Content-Disposition: form-data; name=width\r\nContent-Type: application/json; charset=utf-8\r\n\r\n64\r\n--B\r\n\
            Content-Disposition: form-data; name=\"args\"\r\n\r\n {\"deep\": [1]} \r\n--B--\r\n";
        let (json, buffers) = read(form).unwrap();
        assert_eq!(json, r#"{"deep": [1],"title":"\"cat\" ä","width":64}"#);
        assert_eq!(buffers, [("image".into(), "a\r\n--C\r\n".into(), Some("image/png".into()))]);
        let raw = "--B\r\nContent-Disposition: form-data; name=\"x\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--B--";
        assert_eq!(read(raw).unwrap(), ("{}".into(), vec![("x".into(), Bytes::new(), None)]));
        assert_eq!(read("--B--").unwrap().0, "{}");
        let both = "--B\r\nContent-Disposition: form-data; name=\"args\"; filename=\"f\"\r\n\r\nb\r\n--B\r\n\
            Content-Disposition: form-data; name=\"args\"\r\n\r\n{\"x\": 1}\r\n--B--\r\n";
        assert_eq!(read(both).unwrap(), ("{\"x\": 1}".into(), vec![("args".into(), "b".into(), None)]));
        assert_eq!(read("preamble\r\n--B--\r\nepilogue").unwrap().0, "{}");
    }

    #[test]
    fn malformed_forms_are_refused_with_the_reason() {
        let part = |head: &str, data: &str| format!("--B\r\n{head}\r\n\r\n{data}\r\n--B--\r\n");
        let name = "Content-Disposition: form-data; name=\"x\"";
        let json = "Content-Disposition: form-data; name=\"x\"\r\nContent-Type: application/json";
        let args = "Content-Disposition: form-data; name=\"args\"";
        for (form, reason) in [
            (String::new(), "closing line"),
            (format!("--B\r\n{name}\r\n\r\nx"), "closing line"),
            (format!("--B\r\n{name}\r\n--B--"), "empty line"),
            (part("Content-Type: text/plain", "x"), "Content-Disposition"),
            (part("Content-Disposition: form-data", "x"), "no name"),
            (part(json, "1},\"y\":{"), "`x`"),
            (part(json, "NaN"), "`x`"),
            (part(args, "[1]"), "object"),
            (part(args, "{\"x\": \"\\ud800\"}"), "surrogate"),
            (format!("--B\r\n{name}\r\n\r\n1\r\n{}", part(name, "2")), "twice"),
            (format!("--B\r\n{args}\r\n\r\n{{}}\r\n{}", part(args, "{}")), "the form has the part `args` twice"),
        ] {
            let error = read(&form).unwrap_err();
            assert!(error.contains(reason), "{form:?}: {error}");
        }
    }

    #[test]
    fn only_forms_have_a_boundary() {
        let of = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            boundary(&[(header::CONTENT_TYPE, value)].into_iter().collect()).map(|found| found.map_err(drop))
        };
        assert_eq!(of("multipart/form-data; boundary=abc"), Some(Ok("abc".into())));
        assert_eq!(of("Multipart/Form-Data;charset=utf-8; Boundary=\"a b\""), Some(Ok("a b".into())));
        assert_eq!(of("application/json; boundary=abc"), None);
        assert_eq!(of("multipart/form-data"), Some(Err(())));
        assert_eq!(of("multipart/form-data; boundary="), Some(Err(())));
    }

    /// R68: a form takes no more memory than is counted.
    #[test]
    fn r68_the_memory_of_a_form_has_limits() {
        let part = |head: &str, data: &str| format!("--B\r\nContent-Disposition: form-data; {head}\r\n\r\n{data}\r\n");
        let many: String = (0..=MAX_PARTS).map(|number| part(&format!("name=\"{number}\""), "")).collect();
        assert!(read(&(many + "--B--")).unwrap_err().contains("more than 2048 parts"));
        let long = part(&format!("name=\"{}\"", "x".repeat(MAX_HEAD)), "") + "--B--";
        assert!(read(&long).unwrap_err().contains("longer than 8192 bytes"));
        let form = part("name=\"x\"", "\u{1}\"\\\n\u{8}\u{c}\u{7f}\u{e4}") + "--B--";
        let mut asked = None;
        let reserve = |length| {
            asked = Some(length);
            Ok(Room::none(&Buffers::new(0)))
        };
        let Ok(arguments) = parse(&form.into(), "B", reserve) else { panic!("refused") };
        assert_eq!(asked, Some(arguments.json.len() + 1), "a comma more");
    }

    proptest! {
        /// R68: no body makes the parser fail otherwise than with an error, and the data of a part may have any bytes.
        #[test]
        fn r68_data_of_any_bytes_survives(data in "(\r|\n|-|B|\r\n--B[^-]|[ -~]){0,30}", noise in "(\r|\n|-|B|:|[ -~]){0,40}") {
            let _ = read(&noise);
            // The line break before the data belongs to the headers, and could begin a delimiter too.
            let mut data = format!("\r\n{data}");
            while data.contains("\r\n--B") {
                data = data.replace("\r\n--B", "\r\n");
            }
            let form = format!("--B\r\nContent-Disposition: form-data; name=\"x\"; filename=\"f\"\r\n{data}\r\n--B--\r\n");
            prop_assert_eq!(&read(&form).unwrap().1[0].1[..], &data.as_bytes()[2..]);
        }
    }
}
