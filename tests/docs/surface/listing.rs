//! The listing of the public surface: follows the public modules and re-exports of `herder`, and prints what they contain.

use super::crates::{Crates, Definition, Module, is_hidden, is_public, name_of};
use quote::{ToTokens, quote};
use std::collections::{BTreeMap, BTreeSet};
use syn::{
    Attribute, Expr, Fields, FnArg, ImplItem, Item, ItemImpl, Lit, Meta, Pat, PathArguments, Signature, TraitItem,
    visit::{self, Visit},
};

/// The traits of an actor. Its messages are listed if they are public.
const HANDLER: &str = "Handler";

/// The public surface.
pub(super) struct Listing {
    /// The items of each module, by name.
    modules: BTreeMap<String, BTreeMap<String, Entry>>,
    /// The pages at the root of the documentation.
    root_pages: Vec<String>,
    /// The types of our crates that public signatures name, but that are not in the surface.
    unnamed_types: BTreeSet<String>,
}

/// A public item.
#[derive(Default)]
struct Entry {
    head: String,
    /// The fields, variants, methods and traits.
    lines: Vec<String>,
    /// The lines of the documentation.
    docs: Vec<String>,
    /// The names of the types of public fields and signatures.
    types: BTreeSet<String>,
}

impl Listing {
    pub(super) fn of(crates: &Crates) -> Self {
        let mut listing = Self { modules: BTreeMap::new(), root_pages: Vec::new(), unnamed_types: BTreeSet::new() };
        listing.add_module(crates, "herder", &[], "herder", crates.root("herder"));
        let names: BTreeSet<String> = listing.modules.values().flat_map(BTreeMap::keys).cloned().collect();
        for entry in listing.modules.values_mut().flat_map(BTreeMap::values_mut) {
            entry.lines.retain(|line| handled(line).is_none_or(|message| names.contains(message)));
        }
        let root = &listing.modules["herder"];
        let children = listing.modules.keys().filter(|name| name.matches("::").count() == 1);
        listing.root_pages = children.chain(root.keys()).cloned().collect();
        listing.unnamed_types = listing.find_unnamed_types(crates);
        listing
    }

    pub(super) fn root_pages(&self) -> &[String] {
        &self.root_pages
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (module, entries) in &self.modules {
            text += &format!("{module}\n");
            for entry in entries.values() {
                text += &format!("    {}\n", entry.head);
                entry.lines.iter().for_each(|line| text += &format!("        {line}\n"));
            }
        }
        text
    }

    /// Returns the lines of the documentation of all items, each with the name of its item.
    pub(super) fn documentation(&self) -> Vec<(String, String)> {
        let entries = self.modules.iter().flat_map(|(module, entries)| {
            entries.iter().map(move |(name, entry)| (format!("{module}::{name}"), entry))
        });
        entries.flat_map(|(name, entry)| entry.docs.iter().map(move |line| (name.clone(), line.clone()))).collect()
    }

    pub(super) fn unnamed_types(&self) -> &BTreeSet<String> {
        &self.unnamed_types
    }

    /// Returns the types of our crates that public signatures name, but that are not in the surface. The messages of the
    /// protocol are not examined: fakes of workers use only some of their methods.
    fn find_unnamed_types(&self, crates: &Crates) -> BTreeSet<String> {
        let names: BTreeSet<&String> = self.modules.values().flat_map(BTreeMap::keys).collect();
        let entries = self.modules.iter().flat_map(|(module, entries)| {
            entries.iter().map(move |(name, entry)| (format!("{module}::{name}"), entry))
        });
        entries
            .flat_map(|(owner, entry)| entry.types.iter().map(move |name| (owner.clone(), name)))
            .filter(|(owner, name)| {
                // The `Request` of actix-http has the name of a type of ours.
                let is_other = owner == "herder::http::Server" && *name == "Request";
                !is_other
                    && !owner.starts_with("herder::testing::wire")
                    && !names.contains(name)
                    && crates.defines_type(name)
            })
            .map(|(owner, name)| format!("{name} of {owner}"))
            .collect()
    }

    fn add_module(&mut self, crates: &Crates, crate_name: &str, path: &[String], name: &str, module: &Module) {
        let mut entries = BTreeMap::new();
        let mut children: Vec<(String, Definition<'_>)> = Vec::new();
        for item in &module.items {
            if let Some(ident) = name_of(item) {
                let own = Definition::Item { crate_name, path: path.to_vec(), item };
                children.push((ident.to_string(), own));
            }
        }
        for import in module.uses.iter().filter(|import| import.is_public && !is_hidden(&import.attributes)) {
            assert!(import.name != "*", "{name} has a glob");
            match crates.resolve(crate_name, path, &import.path) {
                Some(definition) => children.push((import.name.clone(), definition)),
                None => drop(entries.insert(
                    import.name.clone(),
                    Entry { head: format!("use {}", import.path.join("::")), ..Entry::default() },
                )),
            }
        }
        for (child, definition) in children {
            match definition {
                Definition::Item { crate_name, path, item } => {
                    if let Some(entry) = entry(crates, crate_name, &path, &child, item) {
                        entries.insert(child, entry);
                    }
                }
                Definition::Module { crate_name, path, module } => {
                    self.add_module(crates, crate_name, &path, &format!("{name}::{child}"), module);
                }
            }
        }
        self.modules.insert(name.to_owned(), entries);
        for (child, module) in module.children.iter().filter(|(_, module)| module.is_page()) {
            let inside = [path, std::slice::from_ref(child)].concat();
            self.add_module(crates, crate_name, &inside, &format!("{name}::{child}"), module);
        }
    }
}

/// Returns the entry of a public item.
fn entry(crates: &Crates, crate_name: &str, path: &[String], name: &str, item: &Item) -> Option<Entry> {
    let mut entry = Entry::default();
    match item {
        Item::Struct(item) if is_public(&item.vis) && !is_hidden(&item.attrs) => {
            entry.head(&item.attrs, &format!("struct {name}{}", tidy(&item.generics)));
            entry.add_fields(&item.fields);
            entry.add_implementations(crates.implementations(crate_name, path, &item.ident));
        }
        Item::Enum(item) if is_public(&item.vis) && !is_hidden(&item.attrs) => {
            entry.head(&item.attrs, &format!("enum {name}{}", tidy(&item.generics)));
            for variant in &item.variants {
                entry.document(&variant.attrs);
                let fields = variant.fields.iter().map(|field| {
                    entry.document(&field.attrs);
                    entry.types.extend(types(&field.ty));
                    let name = field.ident.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
                    format!("{name}{}", tidy(&field.ty))
                });
                let fields: Vec<String> = fields.collect();
                let fields = match variant.fields {
                    Fields::Named(_) => format!(" {{ {} }}", fields.join(", ")),
                    Fields::Unnamed(_) => format!("({})", fields.join(", ")),
                    Fields::Unit => String::new(),
                };
                entry.lines.push(format!("{}{fields}{}", variant.ident, marks(&variant.attrs)));
            }
            entry.add_implementations(crates.implementations(crate_name, path, &item.ident));
        }
        Item::Fn(item) if is_public(&item.vis) && !is_hidden(&item.attrs) => {
            let signature = entry.signature(&item.sig);
            entry.head(&item.attrs, &signature);
        }
        Item::Type(item) if is_public(&item.vis) => {
            entry.head(&item.attrs, &format!("type {name}{} = {}", tidy(&item.generics), tidy(&item.ty)));
        }
        Item::Const(item) if is_public(&item.vis) => {
            entry.head(&item.attrs, &format!("const {name}: {}", tidy(&item.ty)));
        }
        Item::Trait(item) if is_public(&item.vis) => {
            entry.head(&item.attrs, &format!("trait {name}{}", tidy(&item.generics)));
            for method in item.items.iter().filter_map(|item| match item {
                TraitItem::Fn(method) => Some(method),
                _ => None,
            }) {
                entry.document(&method.attrs);
                let signature = entry.signature(&method.sig);
                entry.lines.push(signature);
            }
        }
        Item::Macro(item) => entry.head(&item.attrs, &format!("macro {name}!")),
        _ => return None,
    }
    Some(entry)
}

impl Entry {
    fn head(&mut self, attributes: &[Attribute], text: &str) {
        self.document(attributes);
        let derives = derives(attributes);
        let derives = if derives.is_empty() { String::new() } else { format!(": {}", derives.join(", ")) };
        self.head = format!("{text}{}{derives}", marks(attributes));
    }

    fn document(&mut self, attributes: &[Attribute]) {
        self.docs.extend(attributes.iter().filter_map(doc_line));
    }

    fn add_fields(&mut self, fields: &Fields) {
        for (index, field) in fields.iter().enumerate().filter(|(_, field)| is_public(&field.vis)) {
            self.document(&field.attrs);
            self.types.extend(types(&field.ty));
            let name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
            self.lines.push(format!("{name}: {}", tidy(&field.ty)));
        }
    }

    /// Adds the public methods and constants, then the implemented traits, each sorted by name: the order of the files of a
    /// crate is not part of its surface.
    fn add_implementations(&mut self, implementations: Vec<&ItemImpl>) {
        let (mut methods, mut traits) = (Vec::new(), Vec::new());
        for implementation in implementations {
            let outer = marks(&implementation.attrs);
            if let Some((path, _)) = &implementation.trait_ {
                let is_generic = !matches!(path.segments.last().unwrap().arguments, PathArguments::None);
                let name = if is_generic { tidy(path) } else { path.segments.last().unwrap().ident.to_string() };
                traits.push(format!("impl {name}{outer}"));
                continue;
            }
            for item in &implementation.items {
                match item {
                    ImplItem::Fn(method) if is_public(&method.vis) && !is_hidden(&method.attrs) => {
                        self.document(&method.attrs);
                        let signature = self.signature(&method.sig);
                        methods.push(format!("{signature}{outer}{}", marks(&method.attrs)));
                    }
                    ImplItem::Const(constant) if is_public(&constant.vis) => {
                        self.document(&constant.attrs);
                        methods.push(format!("const {}: {}", constant.ident, tidy(&constant.ty)));
                    }
                    _ => {}
                }
            }
        }
        methods.sort();
        traits.sort();
        self.lines.extend(methods);
        self.lines.extend(traits);
    }

    fn signature(&mut self, signature: &Signature) -> String {
        let mut shown = signature.clone();
        for input in &mut shown.inputs {
            match input {
                FnArg::Receiver(receiver) => receiver.mutability = None, // not that of `&mut self`
                FnArg::Typed(argument) => {
                    if let Pat::Ident(pattern) = &mut *argument.pat {
                        pattern.mutability = None;
                    }
                }
            }
        }
        self.types.extend(types(&shown));
        tidy(&shown)
    }
}

/// Returns the message of an `impl Handler<..>`.
fn handled(line: &str) -> Option<&str> {
    line.strip_prefix("impl ")?.strip_prefix(HANDLER)?.strip_prefix('<')?.split('>').next()
}

/// Returns the features and the `#[non_exhaustive]` of an item.
fn marks(attributes: &[Attribute]) -> String {
    let mark = |attribute: &Attribute| match &attribute.meta {
        Meta::Path(path) if path.is_ident("non_exhaustive") => Some(" #[non_exhaustive]".to_owned()),
        Meta::List(list) if list.path.is_ident("cfg") => Some(format!(" #[cfg({})]", tidy(&list.tokens))),
        _ => None,
    };
    attributes.iter().filter_map(mark).collect()
}

fn derives(attributes: &[Attribute]) -> Vec<String> {
    let lists = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let names = lists.flat_map(|attribute| match &attribute.meta {
        Meta::List(list) => list.tokens.to_string().split(',').map(|name| name.replace(' ', "")).collect(),
        _ => Vec::new(),
    });
    names.collect()
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        Expr::Lit(literal) if pair.path.is_ident("doc") => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the names of all types in a piece of syntax.
fn types(syntax: &impl ToTokens) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visit<'_> for Names {
        fn visit_path_segment(&mut self, segment: &syn::PathSegment) {
            self.0.insert(segment.ident.to_string());
            visit::visit_path_segment(self, segment);
        }
    }
    let mut names = Names(BTreeSet::new());
    if let Ok(signature) = syn::parse2::<Signature>(quote!(#syntax)) {
        names.visit_signature(&signature);
    } else if let Ok(ty) = syn::parse2::<syn::Type>(quote!(#syntax)) {
        names.visit_type(&ty);
    }
    names.0
}

/// Formats tokens as rustfmt would, on one line.
fn tidy(syntax: &impl ToTokens) -> String {
    let mut text = syntax.to_token_stream().to_string().replace('\n', " ");
    let rules = [
        (" ::", "::"),
        (":: ", "::"),
        (" ,", ","),
        (" ;", ";"),
        ("( ", "("),
        (" )", ")"),
        (" (", "("),
        ("[ ", "["),
        (" ]", "]"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" :", ":"),
        ("& ", "&"),
        ("? ", "?"),
        (" !", "!"),
        (",)", ")"),
    ];
    for (from, to) in rules {
        text = text.replace(from, to);
    }
    // The rules above also join what is apart: a tuple or a slice after an arrow, a comma or a keyword.
    for (from, to) in [("->(", "-> ("), (",(", ", ("), (":(", ": ("), ("=(", "= (")] {
        text = text.replace(from, to);
    }
    text
}
