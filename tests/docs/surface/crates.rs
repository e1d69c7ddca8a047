//! The crates of the library as syntax trees, and the resolution of `pub use` across them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use syn::{
    Attribute, Ident, ImplItem, Item, ItemImpl, Token, Type, UseTree, Visibility,
    parse::{Parse, ParseStream},
    parse_quote,
    punctuated::Punctuated,
};

/// The crates whose items `herder` exports, and their sources.
const CRATES: [(&str, &str); 6] = [
    ("herder", "src/lib.rs"),
    ("herder_actors", "actors/src/lib.rs"),
    ("herder_core", "crates/core/src/lib.rs"),
    ("herder_efficiency", "crates/efficiency/src/lib.rs"),
    ("herder_process", "crates/process/src/lib.rs"),
    ("herder_wire", "crates/wire/src/lib.rs"),
];

/// A module with its items, its imports and re-exports, and its child modules.
#[derive(Default)]
pub(super) struct Module {
    pub(super) attributes: Vec<Attribute>,
    pub(super) items: Vec<Item>,
    pub(super) uses: Vec<Use>,
    pub(super) children: BTreeMap<String, Module>,
    is_public: bool,
}

/// One name of a `use`.
pub(super) struct Use {
    pub(super) name: String,
    pub(super) attributes: Vec<Attribute>,
    pub(super) is_public: bool,
    pub(super) path: Vec<String>,
}

/// What a name refers to.
pub(super) enum Definition<'a> {
    Item { crate_name: &'a str, path: Vec<String>, item: &'a Item },
    Module { crate_name: &'a str, path: Vec<String>, module: &'a Module },
}

/// The syntax trees of all crates.
pub(super) struct Crates(BTreeMap<&'static str, Module>);

impl Crates {
    pub(super) fn load() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self(CRATES.into_iter().map(|(name, file)| (name, load(&root.join(file), true))).collect())
    }

    pub(super) fn root(&self, crate_name: &str) -> &Module {
        &self.0[crate_name]
    }

    /// Returns all inherent and trait implementations of a type in its crate, except those in tests. If the crate has several
    /// types of this name, only those below the module that defines it.
    pub(super) fn implementations(&self, crate_name: &str, path: &[String], type_name: &Ident) -> Vec<&ItemImpl> {
        let root = &self.0[crate_name];
        let is_ambiguous = count_types(root, &type_name.to_string()) > 1;
        let module = if is_ambiguous { self.module(crate_name, path).unwrap_or(root) } else { root };
        let mut found = Vec::new();
        collect_implementations(module, type_name, &mut found);
        found
    }

    /// Returns whether one of the crates has a public type of this name.
    pub(super) fn defines_type(&self, name: &str) -> bool {
        self.0.values().any(|module| count_types(module, name) > 0)
    }

    /// Follows a name from a module to its definition; `None` for names of other crates.
    pub(super) fn resolve<'a>(
        &'a self,
        crate_name: &str,
        module: &[String],
        path: &[String],
    ) -> Option<Definition<'a>> {
        let (first, rest) = path.split_first()?;
        if let Some((&name, root)) = self.0.get_key_value(first.as_str())
            && (module.is_empty() || !self.module(crate_name, module)?.children.contains_key(first))
        {
            return match rest {
                [] => Some(Definition::Module { crate_name: name, path: Vec::new(), module: root }),
                _ => self.resolve(name, &[], rest),
            };
        }
        match first.as_str() {
            "crate" => return self.resolve(crate_name, &[], rest),
            "self" => return self.resolve(crate_name, module, rest),
            "super" => return self.resolve(crate_name, &module[..module.len() - 1], rest),
            _ => {}
        }
        let here = self.module(crate_name, module)?;
        if let Some(child) = here.children.get(first) {
            let inside = [module, std::slice::from_ref(first)].concat();
            return match rest {
                [] => {
                    let (&crate_name, _) = self.0.get_key_value(crate_name)?;
                    Some(Definition::Module { crate_name, path: inside, module: child })
                }
                _ => self.resolve(crate_name, &inside, rest),
            };
        }
        if let Some(item) = here.items.iter().find(|item| name_of(item).is_some_and(|name| *name == first.as_str())) {
            let (&crate_name, _) = self.0.get_key_value(crate_name)?;
            return Some(Definition::Item { crate_name, path: module.to_vec(), item });
        }
        let import = here.uses.iter().find(|import| import.name == *first)?;
        self.resolve(crate_name, module, &[&import.path, rest].concat())
    }

    fn module(&self, crate_name: &str, path: &[String]) -> Option<&Module> {
        path.iter().try_fold(&self.0[crate_name], |module, name| module.children.get(name))
    }
}

impl Module {
    /// Returns whether the module is public and documented.
    pub(super) fn is_page(&self) -> bool {
        self.is_public && !is_hidden(&self.attributes)
    }
}

/// Returns the name of an item that a path can refer to.
pub(super) fn name_of(item: &Item) -> Option<&Ident> {
    Some(match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    })
}

pub(super) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Returns whether an item is `#[doc(hidden)]`.
pub(super) fn is_hidden(attributes: &[Attribute]) -> bool {
    let is_hiding = |attribute: &Attribute| {
        attribute.path().is_ident("doc") && attribute.parse_args::<Ident>().is_ok_and(|word| word == "hidden")
    };
    attributes.iter().any(is_hiding)
}

/// Returns whether an item exists in tests or doctests only.
fn is_test(attributes: &[Attribute]) -> bool {
    let of_tests = ["test", "doctest"];
    let has_word = |attribute: &Attribute| {
        let words = attribute.parse_args::<proc_macro2::TokenStream>().unwrap_or_default().to_string();
        words.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| of_tests.contains(&word))
    };
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg") && has_word(attribute))
}

fn load(file: &Path, is_root: bool) -> Module {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let folder =
        if is_root || file.ends_with("mod.rs") { file.parent().unwrap().into() } else { file.with_extension("") };
    let mut module = Module { attributes: parsed.attrs, ..Module::default() };
    module.add(parsed.items, &folder);
    module
}

impl Module {
    fn add(&mut self, items: Vec<Item>, folder: &Path) {
        for item in items {
            match item {
                Item::Mod(child) if !is_test(&child.attrs) => {
                    let name = child.ident.to_string();
                    let mut module = match child.content {
                        Some((_, items)) => {
                            let mut module = Self::default();
                            module.add(items, &folder.join(&name));
                            module
                        }
                        None => load(&file_of(folder, &name), false),
                    };
                    module.is_public = is_public(&child.vis);
                    module.attributes.extend(child.attrs);
                    self.children.insert(name, module);
                }
                Item::Use(item) if !is_test(&item.attrs) => {
                    let (attributes, is_public) = (item.attrs, is_public(&item.vis));
                    for (path, name) in leaves(&item.tree, &[]) {
                        self.uses.push(Use { name, attributes: attributes.clone(), is_public, path });
                    }
                }
                Item::Macro(item) if item.mac.path.is_ident("group") => self.items.extend(group(&item.mac.tokens)),
                Item::Mod(_) | Item::Use(_) => {}
                item => self.items.push(item),
            }
        }
    }
}

fn file_of(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(format!("{name}.rs"));
    if file.exists() { file } else { folder.join(name).join("mod.rs") }
}

/// Returns the paths of a `use`, with the name that each of them has.
fn leaves(tree: &UseTree, prefix: &[String]) -> Vec<(Vec<String>, String)> {
    let join = |name: &Ident| [prefix, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &join(&path.ident)),
        UseTree::Group(group) => group.items.iter().flat_map(|tree| leaves(tree, prefix)).collect(),
        UseTree::Name(name) if name.ident == "self" => {
            vec![(prefix.to_vec(), prefix.last().cloned().unwrap_or_default())]
        }
        UseTree::Name(name) => vec![(join(&name.ident), name.ident.to_string())],
        UseTree::Rename(rename) => vec![(join(&rename.ident), rename.rename.to_string())],
        UseTree::Glob(_) => vec![(prefix.to_vec(), "*".into())],
    }
}

/// Returns the number of public types of this name.
fn count_types(module: &Module, name: &str) -> usize {
    let is_type = |item: &&Item| match item {
        Item::Enum(item) => is_public(&item.vis) && item.ident == name,
        Item::Struct(item) => is_public(&item.vis) && item.ident == name,
        _ => false,
    };
    let below = module.children.values().map(|child| count_types(child, name)).sum::<usize>();
    below + module.items.iter().filter(is_type).count()
}

fn collect_implementations<'a>(module: &'a Module, type_name: &Ident, found: &mut Vec<&'a ItemImpl>) {
    let is_of_type = |item: &ItemImpl| match &*item.self_ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == *type_name),
        _ => false,
    };
    for item in &module.items {
        if let Item::Impl(item) = item
            && is_of_type(item)
            && !is_test(&item.attrs)
        {
            found.push(item);
        }
    }
    module.children.values().for_each(|child| collect_implementations(child, type_name, found));
}

/// One group of settings, as the macro `group!` of `actors/src/config/groups.rs` takes it.
struct Group {
    attributes: Vec<Attribute>,
    name: Ident,
    fields: Punctuated<syn::Field, Token![,]>,
}

impl Parse for Group {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (attributes, name) = (input.call(Attribute::parse_outer)?, input.parse()?);
        let content;
        syn::braced!(content in input);
        let fields = content.parse_terminated(syn::Field::parse_named, Token![,])?;
        Ok(Self { attributes, name, fields })
    }
}

/// Expands `group!`.
fn group(tokens: &proc_macro2::TokenStream) -> Vec<Item> {
    let Group { attributes, name, fields } = syn::parse2(tokens.clone()).unwrap();
    let setters = fields.iter().map(|field| -> ImplItem {
        let (attributes, name, ty) = (&field.attrs, &field.ident, &field.ty);
        parse_quote!(#(#attributes)* pub fn #name(self, #name: #ty) -> Self {})
    });
    vec![
        parse_quote!(#(#attributes)* #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)] pub struct #name { hidden: () }),
        parse_quote!(impl #name { pub fn new() -> Self {} #(#setters)* }),
    ]
}
