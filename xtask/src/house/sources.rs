//! What the sources must not say.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use syn::{Attribute, Fields, Type, spanned::Spanned, visit::Visit};
use walkdir::WalkDir;

/// Names of fields that hold a secret, whatever their type.
const SECRET_FIELDS: [&str; 8] =
    ["password", "passphrase", "secret", "secret_key", "private_key", "mnemonic", "admin_token", "jwt_secret"];
/// Types that redact themselves: a field of one of them may be shown.
const REDACTING: [&str; 6] = ["Secret", "SecretString", "SecretBytes", "HostSecret", "Redacted", "AdminToken"];
/// Types whose derived `Debug` would show a secret.
const SECRET_TYPES: [&str; 2] = ["Zeroizing", "SecretKey"];
/// Channels without a bound.
const UNBOUNDED: [&str; 4] = ["unbounded_channel", "unbounded", "UnboundedSender", "UnboundedReceiver"];
/// Longest file, in lines, before the tests at its end.
const LONGEST: usize = 600;

/// Checks every Rust source of the house.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for dir in ["bin", "crates", "boosts", "lab", "xtask", "fuzz", "examples"] {
        for path in rust_files(&root.join(dir)) {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            faults.extend(check_file(&name, &text)?);
        }
    }
    Ok(faults)
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = WalkDir::new(dir)
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .collect();
    files.sort();
    files
}

fn check_file(name: &str, text: &str) -> Result<Vec<String>> {
    let file = syn::parse_file(text).with_context(|| format!("{name} does not parse"))?;
    let mut v = Visitor { name, faults: Vec::new() };
    v.visit_file(&file);
    let mut faults = v.faults;
    let before_tests = text.lines().take_while(|l| !l.starts_with("#[cfg(test)]")).count();
    if before_tests > LONGEST {
        faults.push(format!("{name}: {before_tests} lines; split it (at most {LONGEST})"));
    }
    Ok(faults)
}

struct Visitor<'a> {
    name: &'a str,
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

    fn visit_path(&mut self, p: &'ast syn::Path) {
        let words: Vec<String> = p.segments.iter().map(|s| s.ident.to_string()).collect();
        let last = words.last().map(String::as_str).unwrap_or_default();
        let std_channel =
            words.ends_with(&["mpsc".into(), "channel".into()]) && words.first().is_some_and(|w| w == "std");
        let of_channels = words.iter().any(|w| ["mpsc", "channel", "flume", "crossbeam_channel"].contains(&w.as_str()));
        let unbounded = UNBOUNDED.contains(&last) && (last != "unbounded" || of_channels);
        if unbounded || std_channel {
            self.fault(p.span().start().line, "an unbounded channel; give it a bound and say what it means");
        }
        syn::visit::visit_path(self, p);
    }
}

impl Visitor<'_> {
    fn fault(&mut self, line: usize, why: &str) {
        self.faults.push(format!("{}:{line}: {why}", self.name));
    }

    fn fields(&mut self, of: &syn::Ident, fields: &Fields) {
        for f in fields {
            let types = type_names(&f.ty);
            let named = f.ident.as_ref().is_some_and(|i| SECRET_FIELDS.contains(&i.to_string().as_str()));
            let redacts = types.iter().any(|t| REDACTING.contains(&t.as_str()));
            let typed = types.iter().any(|t| SECRET_TYPES.contains(&t.as_str()));
            // A path or a flag about a secret is none.
            let harmless = types.iter().all(|t| ["PathBuf", "Option", "bool"].contains(&t.as_str()));
            if (named && !redacts && !harmless) || typed {
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
    use super::check_file;

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
    }

    #[test]
    fn an_unbounded_channel_is_found() {
        assert_eq!(faults("fn f() { let _ = tokio::sync::mpsc::unbounded_channel::<u8>(); }"), 1);
        assert_eq!(faults("fn f() { let _ = std::sync::mpsc::channel::<u8>(); }"), 1);
        assert_eq!(faults("fn f() { let _ = futures::channel::mpsc::unbounded::<u8>(); }"), 1);
        assert_eq!(faults("fn f() { let _ = tokio::sync::mpsc::channel::<u8>(4); }"), 0);
        assert_eq!(faults("fn f() { let _ = LruCache::<u8, u8>::unbounded(); }"), 0);
    }

    #[test]
    fn a_file_that_grew_too_long_is_found() {
        assert_eq!(faults(&"fn f() {}\n".repeat(601).replace("fn f", "const _: () = { fn g() {} }; fn f")), 1);
    }
}
