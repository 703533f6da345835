//! The public API of the crates that languages are written with, a line for each thing that a name in
//! somebody else's program may mean. Whoever changes or removes a line may break that program.
//!
//! Sources are read as they are on disk. What is `pub` can be named from outside, whatever its module,
//! for the lint `unreachable_pub` holds in the whole workspace. Lines are sorted, so that what only
//! moves between files does not show. `INSTA_UPDATE=always` writes the lists in `sdk-api` anew.

use std::collections::BTreeSet;
use std::path::Path;

use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Fields, FnArg, Generics, Ident, ImplItem, Item, ItemImpl, ItemMacro, Signature,
    Token, TraitItem, Type, Visibility,
};

use crate::architecture::root;

#[test]
fn a_change_of_what_languages_are_written_with_is_seen() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("sdk-api");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for name in ["document", "frontend", "llb", "oci", "testing"] {
            let api = Api::of(&root().join("sdk").join(name).join("src"));
            assert!(api.lines.len() > 100, "{name}: {}", api.lines.len());
            insta::assert_snapshot!(name, api.text());
        }
    });
}

#[test]
fn what_is_not_public_is_no_api() {
    let source = "
        pub struct Open<T> { pub field: Option<T>, hidden: u8 }
        struct Closed;
        impl<T> Open<T> { pub fn get<'a>(&'a self) -> &'a [T] {} fn help(&self) {} }
        impl Default for Closed {}
        impl<T> Default for Open<T> {}
        #[derive(Clone, std::fmt::Debug)]
        #[non_exhaustive]
        pub enum Kind { One, Two(u8), Three { name: String } }
        pub trait Asked: Send { fn must(&self); fn may(&self) -> u8 { 0 } }
        pub(crate) fn nobody() {}
        pub const fn everybody(a: &mut u8) -> u8 {}
        kiln_llb::setters!(Open { with_field(field: impl Into<u8>), });
        pub use kiln_oci::Digest;
        pub use inside::Other;
    ";
    let mut api = Api::default();
    syn::parse_file(source).unwrap().items.iter().for_each(|item| api.item(item));
    let expected = "\
Asked::may(&self) -> u8 { .. }
Asked::must(&self)
Kind::One
Kind::Three(name: String)
Kind::Two(u8)
Open.field: Option<T>
Open::get<'a>(&'a self) -> &'a[T]
Open::with_field(self, field: impl Into<u8>) -> Self
const fn everybody(a: &mut u8) -> u8
enum Kind, which may grow
impl Clone for Kind
impl Debug for Kind
impl Default for Open<T>
struct Open<T>
trait Asked: Send
use kiln_oci::Digest
";
    assert_eq!(api.text(), expected);
}

/// What a crate offers.
#[derive(Default)]
struct Api {
    lines: BTreeSet<String>,
    /// Its types and traits.
    names: BTreeSet<String>,
    /// What is implemented, also for types that nobody sees: the type, and a line.
    implementations: BTreeSet<(String, String)>,
}

impl Api {
    fn of(directory: &Path) -> Self {
        let mut api = Self::default();
        api.read(directory);
        api
    }

    fn text(mut self) -> String {
        for (of, line) in self.implementations {
            if self.names.contains(&of) {
                self.lines.insert(line);
            }
        }
        self.lines.into_iter().map(|line| line + "\n").collect()
    }

    fn read(&mut self, directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.read(&path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let file = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
                file.items.iter().for_each(|item| self.item(item));
            }
        }
    }

    fn say(&mut self, line: String) {
        self.lines.insert(line.trim_end().to_owned());
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Use(one) if is_public(&one.vis) && text(&one.tree).starts_with("kiln_") => {
                self.say(format!("use {}", text(&one.tree)));
            }
            Item::Const(one) if is_public(&one.vis) => {
                self.say(format!("const {}: {}", one.ident, text(&one.ty)));
            }
            Item::Static(one) if is_public(&one.vis) => {
                self.say(format!("static {}: {}", one.ident, text(&one.ty)));
            }
            Item::Type(one) if is_public(&one.vis) => {
                self.say(format!("type {}{} = {}", one.ident, text(&one.generics), text(&one.ty)));
            }
            Item::Fn(one) if is_public(&one.vis) => self.say(text(&one.sig)),
            Item::Struct(one) if is_public(&one.vis) => {
                self.named("struct", &one.ident, &one.generics, &one.attrs);
                self.fields(&one.ident, &one.fields);
            }
            Item::Enum(one) if is_public(&one.vis) => {
                self.named("enum", &one.ident, &one.generics, &one.attrs);
                for variant in &one.variants {
                    let fields = variant.fields.iter().map(|field| match &field.ident {
                        Some(name) => format!("{name}: {}", text(&field.ty)),
                        None => text(&field.ty),
                    });
                    let fields: Vec<_> = fields.collect();
                    let grows = if grows(&variant.attrs) { ", .." } else { "" };
                    let (name, fields) = (&variant.ident, fields.join(", "));
                    self.say(format!("{}::{name}({fields}{grows})", one.ident).replace("()", ""));
                }
            }
            Item::Trait(one) if is_public(&one.vis) => {
                let (bounds, name) = (text(&one.supertraits), one.ident.to_string());
                self.names.insert(name.clone());
                self.say(format!("trait {name}{}: {bounds}", text(&one.generics)));
                for item in &one.items {
                    match item {
                        TraitItem::Fn(item) => {
                            let provided = if item.default.is_some() { " { .. }" } else { "" };
                            self.say(signature(&format!("{name}::"), &item.sig) + provided);
                        }
                        item => self.say(format!("{name}:: {}", text(item))),
                    }
                }
            }
            Item::Impl(one) => self.implementation(one),
            Item::Macro(one) => self.called(one),
            _ => {}
        }
    }

    /// A type, and what is derived for it.
    fn named(&mut self, kind: &str, name: &Ident, generics: &Generics, attributes: &[Attribute]) {
        let grows = if grows(attributes) { ", which may grow" } else { "" };
        self.names.insert(name.to_string());
        self.say(format!("{kind} {name}{}{grows}", text(generics)));
        for attribute in attributes.iter().filter(|one| one.path().is_ident("derive")) {
            let derived = Punctuated::<syn::Path, Token![,]>::parse_terminated;
            for path in attribute.parse_args_with(derived).unwrap() {
                self.say(format!("impl {} for {name}", text(path.segments.last())));
            }
        }
    }

    fn fields(&mut self, of: &Ident, fields: &Fields) {
        for (number, field) in fields.iter().enumerate().filter(|(_, one)| is_public(&one.vis)) {
            let name = field.ident.as_ref().map_or(number.to_string(), ToString::to_string);
            self.say(format!("{of}.{name}: {}", text(&field.ty)));
        }
    }

    fn implementation(&mut self, one: &ItemImpl) {
        if let Some((_, path, _)) = &one.trait_ {
            let (of, path) = (text(&one.self_ty), text(path.segments.last()));
            let line = format!("impl {path} for {of}");
            self.implementations.insert((name_of(&one.self_ty), line));
            return;
        }
        let of = name_of(&one.self_ty);
        for item in &one.items {
            match item {
                ImplItem::Fn(item) if is_public(&item.vis) => {
                    self.say(signature(&format!("{of}::"), &item.sig));
                }
                ImplItem::Const(item) if is_public(&item.vis) => {
                    self.say(format!("{of}::{}: {}", item.ident, text(&item.ty)));
                }
                _ => {}
            }
        }
    }

    /// A macro that others may call, and what `setters!` makes.
    fn called(&mut self, one: &ItemMacro) {
        let is_exported = one.attrs.iter().any(|one| one.path().is_ident("macro_export"));
        if let (Some(name), true) = (&one.ident, is_exported) {
            self.say(format!("macro {name}!"));
        }
        if one.mac.path.segments.last().is_some_and(|name| name.ident == "setters") {
            let Setters { of, methods } = one.mac.parse_body().unwrap();
            for method in methods {
                self.say(format!(
                    "{of}::{}(self, {}) -> Self",
                    method.name,
                    text(&method.argument)
                ));
            }
        }
    }
}

/// What is written in `setters!`.
struct Setters {
    of: Ident,
    methods: Punctuated<Setter, Token![,]>,
}

struct Setter {
    name: Ident,
    argument: FnArg,
}

impl Parse for Setters {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (of, _): (_, Generics) = (input.parse()?, input.parse()?);
        let methods;
        syn::braced!(methods in input);
        Ok(Self { of, methods: methods.parse_terminated(Setter::parse, Token![,])? })
    }
}

impl Parse for Setter {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.parse()?;
        let argument;
        syn::parenthesized!(argument in input);
        Ok(Self { name, argument: argument.parse()? })
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn grows(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|one| one.path().is_ident("non_exhaustive"))
}

/// The name of a type behind references and boxes.
fn name_of(of: &Type) -> String {
    match of {
        Type::Path(path) => path.path.segments.last().unwrap().ident.to_string(),
        Type::Reference(reference) => name_of(&reference.elem),
        _ => String::new(),
    }
}

/// A function of a type: without its body, and with what is before `fn` first.
fn signature(of: &str, signature: &Signature) -> String {
    let text = text(signature).replacen("(mut self", "(self", 1);
    let (before, after) = text.split_once("fn ").unwrap();
    format!("{before}{of}{after}")
}

/// Code on one line, without the spaces that nobody writes.
fn text(tokens: impl ToTokens) -> String {
    const SPACES: &[(&str, &str)] = &[
        (" :: ", "::"),
        (":: ", "::"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        ("- >", "->"),
        (" ->", "->"),
        ("->", " ->"),
        (" ,", ","),
        ("& ", "&"),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        (",)", ")"),
        (" [", "["),
        ("[ ", "["),
        (" ]", "]"),
        (" :", ":"),
        (" ;", ";"),
        (" !", "!"),
        ("->(", "-> ("),
        ("->[", "-> ["),
        (",(", ", ("),
        ("dyn(", "dyn ("),
    ];
    let text = tokens.to_token_stream().to_string();
    SPACES.iter().fold(text, |text, (wide, narrow)| text.replace(wide, narrow))
}
