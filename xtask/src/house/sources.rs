//! What the sources must not say.

use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use syn::{Attribute, Fields, ImplItem, Item, Type, UseTree, spanned::Spanned, visit::Visit};
use walkdir::WalkDir;

/// Names of fields that hold a secret, whatever their type.
const SECRET_FIELDS: [&str; 11] = [
    "password",
    "passphrase",
    "secret",
    "secret_key",
    "private_key",
    "mnemonic",
    "admin_token",
    "jwt_secret",
    "token",
    "api_key",
    "seed",
];
/// Types that redact themselves: a field of one of them may be shown.
const REDACTING: [&str; 6] = ["Secret", "SecretString", "SecretBytes", "HostSecret", "Redacted", "AdminToken"];
/// Types whose derived `Debug` would show a secret.
const SECRET_TYPES: [&str; 2] = ["Zeroizing", "SecretKey"];
/// A path to a secret, a flag about one and a number (a seed of the lab, which is printed) are none.
const HARMLESS: [&str; 6] = ["PathBuf", "Option", "bool", "u64", "u32", "usize"];
/// Endings of the names of types that wrap a secret.
const SECRET_NAMES: [&str; 7] =
    ["Secret", "SecretKey", "PrivateKey", "Password", "Passphrase", "Mnemonic", "AdminToken"];
/// What a hand-written `Debug` may ask of a secret.
const ASKABLE: [&str; 3] = ["is_some", "is_none", "is_empty"];
/// Channels without a bound.
const UNBOUNDED: [&str; 4] = ["unbounded_channel", "unbounded", "UnboundedSender", "UnboundedReceiver"];
/// Longest file, in lines, without those of its tests, wherever they stand.
const LONGEST: usize = 400;
/// Longest file that holds nothing but tests: one case after the other, read one at a time.
const LONGEST_TESTS: usize = 500;
/// Longest function outside tests, in lines from its name to its closing brace.
const LONGEST_FN: usize = 80;
/// Folders that must be there; `fuzz` and `examples` may come.
const ROOMS: [&str; 5] = ["bin", "crates", "boosts", "lab", "xtask"];
/// Fewest sources that the house has: a check that sees fewer sees nothing.
pub const LEAST: usize = 300;

/// Checks every Rust source of the house.
pub fn check(root: &Path, least: usize) -> Result<Vec<String>> {
    let (mut faults, mut seen) = (Vec::new(), 0);
    for room in ROOMS.into_iter().chain(["fuzz", "examples"]) {
        let dir = root.join(room);
        if !dir.is_dir() {
            if ROOMS.contains(&room) {
                faults.push(format!("there is no folder {room}"));
            }
            continue;
        }
        for path in rust_files(&dir)? {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            faults.extend(check_file(&name, &text)?);
            seen += 1;
        }
    }
    if seen < least {
        faults.push(format!("only {seen} sources were seen"));
    }
    Ok(faults)
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(dir) {
        let path = entry.with_context(|| format!("reading {}", dir.display()))?.into_path();
        if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn check_file(name: &str, text: &str) -> Result<Vec<String>> {
    let file = syn::parse_file(text).with_context(|| format!("{name} does not parse"))?;
    let parts: Vec<&str> = name.split('/').collect();
    let is_test = parts.contains(&"tests") || parts.last().is_some_and(|f| f.ends_with("tests.rs"));
    let mut imports = Imports::default();
    imports.visit_file(&file);
    let mut v = Visitor { name, in_test: is_test, showing: false, imports: imports.0, faults: Vec::new() };
    v.visit_file(&file);
    let mut faults = v.faults;
    let only_tests = name.contains("/tests/") || name.ends_with("tests.rs");
    let most = if only_tests { LONGEST_TESTS } else { LONGEST };
    let lines = text.lines().count() - if only_tests { 0 } else { TestLines::of(&file).len() };
    if lines > most {
        faults.push(format!("{name}: {lines} lines; split it (at most {most})"));
    }
    Ok(faults)
}

/// What each name that a file imports stands for.
#[derive(Default)]
struct Imports(BTreeMap<String, Vec<String>>);

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, u: &'ast syn::ItemUse) {
        self.tree(&u.tree, &mut Vec::new());
    }
}

impl Imports {
    fn tree(&mut self, tree: &UseTree, path: &mut Vec<String>) {
        match tree {
            UseTree::Path(p) => {
                path.push(p.ident.to_string());
                self.tree(&p.tree, path);
                path.pop();
            }
            UseTree::Group(g) => g.items.iter().for_each(|t| self.tree(t, path)),
            UseTree::Name(n) if n.ident == "self" => self.stands_for(path.last().cloned(), path.clone()),
            UseTree::Name(n) => self.stands_for(Some(n.ident.to_string()), join(path, &n.ident)),
            UseTree::Rename(r) => self.stands_for(Some(r.rename.to_string()), join(path, &r.ident)),
            // What a glob brings can only be guessed: the one that matters is asked for by name.
            UseTree::Glob(_) if *path == ["std", "sync", "mpsc"] => {
                self.stands_for(Some("channel".into()), join(path, &"channel"));
            }
            UseTree::Glob(_) => {}
        }
    }

    fn stands_for(&mut self, name: Option<String>, path: Vec<String>) {
        self.0.extend(name.map(|n| (n, path)));
    }
}

fn join(path: &[String], last: &impl ToString) -> Vec<String> {
    let mut all = path.to_vec();
    all.push(last.to_string());
    // `use std::sync::mpsc::{self as m}` means the module.
    all.retain(|p| p != "self");
    all
}

/// Whether an item is compiled for tests only.
fn for_tests(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|a| {
        let is_test = a.path().segments.last().is_some_and(|s| s.ident == "test");
        let mut cfg = false;
        if a.path().is_ident("cfg") {
            // What does not parse so is another condition.
            let _ = a.parse_nested_meta(|m| {
                cfg |= m.path.is_ident("test");
                Ok(())
            });
        }
        is_test || cfg
    })
}

/// The lines of items that are compiled for tests only, with their attributes and documentation.
#[derive(Default)]
struct TestLines(BTreeSet<usize>);

impl TestLines {
    fn of(file: &syn::File) -> BTreeSet<usize> {
        let mut lines = Self::default();
        lines.visit_file(file);
        lines.0
    }

    /// Takes an item's lines in where it is one of tests.
    fn takes(&mut self, attrs: &[Attribute], item: &impl Spanned) -> bool {
        let is_test = for_tests(attrs);
        if is_test {
            self.0.extend(item.span().start().line..=item.span().end().line);
        }
        is_test
    }
}

impl<'ast> Visit<'ast> for TestLines {
    fn visit_item(&mut self, item: &'ast Item) {
        if !self.takes(attributes(item), item) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attrs: &[Attribute] = match item {
            ImplItem::Const(i) => &i.attrs,
            ImplItem::Fn(i) => &i.attrs,
            ImplItem::Type(i) => &i.attrs,
            _ => &[],
        };
        if !self.takes(attrs, item) {
            syn::visit::visit_impl_item(self, item);
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        // What tests have none of counts, whatever it is for.
        _ => &[],
    }
}

struct Visitor<'a> {
    name: &'a str,
    /// Within what is compiled for tests only.
    in_test: bool,
    /// Within a hand-written `Debug` or `Display`.
    showing: bool,
    imports: BTreeMap<String, Vec<String>>,
    faults: Vec<String>,
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_struct(&mut self, s: &'ast syn::ItemStruct) {
        if derives_debug(&s.attrs) {
            self.fields(&s.ident, &s.fields);
        }
        syn::visit::visit_item_struct(self, s);
    }

    fn visit_item_enum(&mut self, e: &'ast syn::ItemEnum) {
        if derives_debug(&e.attrs) {
            for v in &e.variants {
                self.fields(&e.ident, &v.fields);
            }
        }
        syn::visit::visit_item_enum(self, e);
    }

    fn visit_item_mod(&mut self, m: &'ast syn::ItemMod) {
        let outer = self.in_test;
        self.in_test |= for_tests(&m.attrs);
        syn::visit::visit_item_mod(self, m);
        self.in_test = outer;
    }

    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.length(&f.sig, &f.block, for_tests(&f.attrs));
        syn::visit::visit_item_fn(self, f);
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.length(&f.sig, &f.block, false);
        syn::visit::visit_impl_item_fn(self, f);
    }

    fn visit_item_impl(&mut self, i: &'ast syn::ItemImpl) {
        let shown = i.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
        self.showing = shown.is_some_and(|s| s.ident == "Debug" || s.ident == "Display");
        syn::visit::visit_item_impl(self, i);
        self.showing = false;
    }

    fn visit_expr_method_call(&mut self, c: &'ast syn::ExprMethodCall) {
        let asked = ASKABLE.iter().any(|a| c.method == a);
        if !(self.showing && asked && matches!(*c.receiver, syn::Expr::Field(_))) {
            syn::visit::visit_expr_method_call(self, c);
        }
    }

    fn visit_expr_field(&mut self, f: &'ast syn::ExprField) {
        if let (true, syn::Member::Named(name)) = (self.showing, &f.member)
            && SECRET_FIELDS.iter().any(|s| name == s)
        {
            self.fault(name.span().start().line, &format!("a Debug or Display shows the secret `{name}`"));
        }
        syn::visit::visit_expr_field(self, f);
    }

    fn visit_path(&mut self, p: &'ast syn::Path) {
        let written: Vec<String> = p.segments.iter().map(|s| s.ident.to_string()).collect();
        // A name that was imported stands for its whole path.
        let whole = written.first().and_then(|first| self.imports.get(first));
        let words = whole.map_or_else(|| written.clone(), |w| [w, &written[1..]].concat());
        let last = words.last().map(String::as_str).unwrap_or_default();
        let std_channel = words == ["std", "sync", "mpsc", "channel"];
        let of_channels = words.iter().any(|w| ["mpsc", "channel", "flume", "crossbeam_channel"].contains(&w.as_str()));
        let unbounded = UNBOUNDED.contains(&last) && (last != "unbounded" || of_channels);
        if unbounded || std_channel {
            self.fault(p.span().start().line, "an unbounded channel; give it a bound and say what it means");
        }
        syn::visit::visit_path(self, p);
    }
}

impl Visitor<'_> {
    fn length(&mut self, sig: &syn::Signature, block: &syn::Block, is_test: bool) {
        let first = sig.ident.span().start().line;
        let lines = block.span().end().line + 1 - first;
        if lines > LONGEST_FN && !self.in_test && !is_test {
            self.fault(first, &format!("{} has {lines} lines; split it (at most {LONGEST_FN})", sig.ident));
        }
    }

    fn fault(&mut self, line: usize, why: &str) {
        self.faults.push(format!("{}:{line}: {why}", self.name));
    }

    fn fields(&mut self, of: &syn::Ident, fields: &Fields) {
        for f in fields {
            let types = type_names(&f.ty);
            let named = f.ident.as_ref().is_some_and(|i| SECRET_FIELDS.contains(&i.to_string().as_str()));
            let redacts = types.iter().any(|t| REDACTING.contains(&t.as_str()));
            let typed = types.iter().any(|t| SECRET_TYPES.contains(&t.as_str()));
            let harmless = types.iter().all(|t| HARMLESS.contains(&t.as_str()));
            let wraps = f.ident.is_none() && SECRET_NAMES.iter().any(|n| of.to_string().ends_with(n));
            if ((named || wraps) && !redacts && !harmless) || typed {
                self.fault(f.span().start().line, &format!("{of} derives Debug over a secret; write it by hand"));
            }
        }
    }
}

fn derives_debug(attrs: &[Attribute]) -> bool {
    attrs.iter().filter(|a| a.path().is_ident("derive")).any(|a| {
        let mut found = false;
        // A derive that does not parse is the compiler's to complain about.
        let _ = a.parse_nested_meta(|m| {
            found |= m.path.segments.last().is_some_and(|s| s.ident == "Debug");
            Ok(())
        });
        found
    })
}

fn type_names(ty: &Type) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'ast> Visit<'ast> for Names {
        fn visit_path_segment(&mut self, s: &'ast syn::PathSegment) {
            self.0.push(s.ident.to_string());
            syn::visit::visit_path_segment(self, s);
        }
    }
    let mut n = Names(Vec::new());
    n.visit_type(ty);
    n.0
}

#[cfg(test)]
mod tests {
    use super::{check, check_file};

    fn faults(text: &str) -> usize {
        check_file("x.rs", text).unwrap().len()
    }

    #[test]
    fn a_secret_in_a_derived_debug_is_found() {
        assert_eq!(faults("#[derive(Clone, Debug)] struct A { password: String }"), 1);
        assert_eq!(faults("#[derive(Debug)] struct A(Zeroizing<[u8; 32]>);"), 1);
        assert_eq!(faults("#[derive(Debug)] enum A { B { secret_key: Vec<u8> } }"), 1);
        assert_eq!(faults("#[derive(Clone)] struct A { password: String }"), 0);
        assert_eq!(faults("#[derive(Debug)] struct A { password: Secret<String> }"), 0);
        assert_eq!(faults("#[derive(Debug)] struct A { secret: PathBuf }"), 0);
        assert_eq!(faults("#[derive(Debug)] struct A { token: String, api_key: Vec<u8>, seed: [u8; 32] }"), 3);
        assert_eq!(faults("#[derive(Debug)] struct A { seed: u64 }"), 0);
        assert_eq!(faults("#[derive(Debug)] struct HostSecret([u8; 32]);"), 1);
        assert_eq!(faults("#[derive(Debug)] struct BlsSecretKey(Box<[u8]>);"), 1);
        assert_eq!(faults("#[derive(Clone)] struct HostSecret([u8; 32]);"), 0);
        assert_eq!(faults("#[derive(Debug)] struct Host([u8; 32]);"), 0);
    }

    #[test]
    fn a_secret_in_a_debug_by_hand_is_found() {
        let by_hand = |body: &str| format!("impl fmt::Debug for A {{ fn fmt(&self, f: &mut F) -> R {{ {body} }} }}");
        assert_eq!(faults(&by_hand("f.debug_struct(\"A\").field(\"token\", &self.token).finish()")), 1);
        assert_eq!(faults(&by_hand("write!(f, \"A\")")), 0);
        assert_eq!(faults(&by_hand("f.field(\"has_token\", &self.token.is_some())")), 0);
        assert_eq!(faults("impl A { fn token(&self) -> &str { &self.token } }"), 0);
    }

    #[test]
    fn a_function_that_grew_too_long_is_found_outside_tests() {
        let body = "let _ = 1;\n".repeat(80);
        assert_eq!(faults(&format!("fn f() {{\n{body}}}")), 1);
        assert_eq!(faults(&format!("impl A {{ fn f() {{\n{body}}} }}")), 1);
        assert_eq!(faults(&format!("#[test] fn f() {{\n{body}}}")), 0);
        assert_eq!(faults(&format!("#[cfg(test)] mod tests {{ fn f() {{\n{body}}} }}")), 0);
        assert_eq!(check_file("crates/a/tests/b.rs", &format!("fn f() {{\n{body}}}")).unwrap().len(), 0);
    }

    #[test]
    fn what_is_planted_in_a_tree_is_found_and_a_tree_without_sources_is_no_house() {
        let dir = tempfile::tempdir().unwrap();
        let missing = check(dir.path(), 0).unwrap();
        assert_eq!(missing.len(), super::ROOMS.len(), "{missing:?}");
        for room in super::ROOMS {
            std::fs::create_dir_all(dir.path().join(room).join("a/src")).unwrap();
        }
        assert_eq!(check(dir.path(), 1).unwrap(), ["only 0 sources were seen"]);
        let planted = "fn f() { let _ = std::sync::mpsc::channel::<u8>(); }";
        std::fs::write(dir.path().join("crates/a/src/lib.rs"), planted).unwrap();
        let found = check(dir.path(), 1).unwrap();
        assert!(found.len() == 1 && found[0].starts_with("crates/a/src/lib.rs:1:"), "{found:?}");
    }

    #[test]
    fn an_unbounded_channel_is_found() {
        assert_eq!(faults("fn f() { let _ = tokio::sync::mpsc::unbounded_channel::<u8>(); }"), 1);
        assert_eq!(faults("fn f() { let _ = std::sync::mpsc::channel::<u8>(); }"), 1);
        assert_eq!(faults("fn f() { let _ = futures::channel::mpsc::unbounded::<u8>(); }"), 1);
        assert_eq!(faults("use std::sync::mpsc; fn f() { let _ = mpsc::channel::<u8>(); }"), 1);
        assert_eq!(faults("use std::sync::mpsc::channel; fn f() { let _ = channel::<u8>(); }"), 1);
        assert_eq!(faults("use std::sync::mpsc::{self as m}; fn f() { let _ = m::channel::<u8>(); }"), 1);
        assert_eq!(faults("use std::sync::{Arc, mpsc::*}; fn f() { let _ = channel::<u8>(); }"), 1);
        assert_eq!(faults("use tokio::sync::mpsc as m; fn f() { let _ = m::unbounded_channel::<u8>(); }"), 1);
        assert_eq!(faults("use tokio::sync::mpsc; fn f() { let _ = mpsc::channel::<u8>(4); }"), 0);
        assert_eq!(faults("use std::sync::mpsc; fn f() { let _ = mpsc::sync_channel::<u8>(4); }"), 0);
        assert_eq!(faults("fn f() { let _ = tokio::sync::mpsc::channel::<u8>(4); }"), 0);
        assert_eq!(faults("fn f() { let _ = LruCache::<u8, u8>::unbounded(); }"), 0);
    }

    #[test]
    fn a_file_that_grew_too_long_is_found() {
        assert_eq!(faults(&"fn f() {}\n".repeat(401).replace("fn f", "const _: () = { fn g() {} }; fn f")), 1);
    }

    #[test]
    fn only_the_lines_of_tests_are_left_out_of_a_files_length_wherever_they_stand() {
        let code = |lines: usize| "fn f() {}\n".repeat(lines);
        let tests = format!("/// Many.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "#[test]\nfn t() {}\n".repeat(300));
        let import = "#[cfg(test)]\nuse a::b;\n";
        let helper = format!("impl A {{\n#[cfg(test)]\nfn g() {{\n{}}}\n}}\n", "h();\n".repeat(70));
        for early in [import, "#[cfg(test)]\nmod fakes;\n", &tests] {
            assert_eq!(faults(&[early, &code(400)].concat()), 0, "{early}");
            assert_eq!(faults(&[early, &code(401)].concat()), 1, "{early}");
            assert_eq!(faults(&[&code(200), early, &code(200), &tests].concat()), 0, "{early}");
            assert_eq!(faults(&[&code(200), early, &code(201), &tests].concat()), 1, "{early}");
        }
        // The impl's own two lines count.
        assert_eq!(faults(&[&helper, code(398).as_str()].concat()), 0);
        assert_eq!(faults(&[&helper, code(399).as_str()].concat()), 1);
        let found = check_file("x.rs", &[import, &code(401)].concat()).unwrap();
        assert_eq!(found, ["x.rs: 401 lines; split it (at most 400)"]);
    }

    #[test]
    fn a_file_of_nothing_but_tests_may_be_longer_and_all_of_it_counts() {
        let cases = |n: usize| "#[test] fn t() {}\n".repeat(n);
        assert_eq!(check_file("crates/a/tests/b.rs", &cases(500)).unwrap().len(), 0);
        assert_eq!(check_file("crates/a/tests/b.rs", &cases(501)).unwrap().len(), 1);
        assert_eq!(check_file("crates/a/src/tests.rs", &cases(501)).unwrap().len(), 1);
    }
}
