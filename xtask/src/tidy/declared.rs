//! A declared dependency is named somewhere in the crate's sources.
//!
//! An unused one costs compile time and trust for nothing. "Named" means a path that starts with
//! the crate (`serde::Serialize`) or an import of it; a word in a string or a comment does not
//! count, except in doc comments for a dev-dependency, since examples are compiled.

use super::Finding;
use super::workspace::{Dependency, Kind, Member, SourceFile};

pub(super) fn check(members: &[Member], files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let prefix = format!("{}/", member.folder);
        for dependency in &member.dependencies {
            let named = files
                .iter()
                .filter(|file| file.path.starts_with(&prefix))
                .any(|file| names(&file.text, dependency));
            if !named {
                findings.push(Finding::new(
                    member.manifest_path(),
                    format!(
                        "dependency {} is declared but never named in the crate's sources",
                        dependency.name
                    ),
                    "remove it from the manifest",
                ));
            }
        }
    }
    findings
}

fn names(text: &str, dependency: &Dependency) -> bool {
    let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
    let name = name.replace('-', "_");
    text.lines().any(|line| {
        let line = line.trim_start();
        let doc = line.starts_with("///") || line.starts_with("//!");
        let code = if line.starts_with("//") {
            doc && dependency.kind == Some(Kind::Dev)
        } else {
            true
        };
        code && line
            .match_indices(&name)
            .any(|(start, _)| is_crate_path(&line[..start], &line[start + name.len()..]))
    })
}

/// Whether a name between `before` and `after` stands for a crate.
fn is_crate_path(before: &str, after: &str) -> bool {
    let inside_word = |c: char| c.is_alphanumeric() || c == '_';
    if before.ends_with(inside_word) || after.starts_with(inside_word) {
        return false;
    }
    let before_path = before.strip_suffix("::");
    if before_path.is_some_and(|path| path.ends_with(|c: char| inside_word(c) || c == '>')) {
        return false;
    }
    let imported = before.trim_end().ends_with("use") || before.trim_end().ends_with("crate");
    let import_ends = after.starts_with(';') || after.starts_with(" as ");
    after.starts_with("::") || (imported && import_ends)
}

#[cfg(test)]
mod tests {
    use super::super::workspace::{file, member};
    use super::*;

    fn dependency(name: &str, kind: Option<Kind>) -> Dependency {
        Dependency {
            name: name.to_owned(),
            rename: None,
            kind,
        }
    }

    #[test]
    fn paths_and_imports_name_a_crate() {
        let http = dependency("http-body", None);
        for line in [
            "use http_body::Body;",
            "    let x = ::http_body::Frame::data(y);",
            "use http_body as body;",
            "use http_body;",
            "#[http_body::main]",
        ] {
            assert!(names(line, &http), "{line}");
        }
    }

    #[test]
    fn strings_comments_longer_names_and_inner_modules_do_not() {
        let http = dependency("http", None);
        for line in [
            "let url = \"http://localhost\";",
            "// http::Request is not used",
            "/// See [http::Request].",
            "use my_http::Request;",
            "use hyper::http::Request;",
            "let http = 1;",
        ] {
            assert!(!names(line, &http), "{line}");
        }
    }

    #[test]
    fn a_doc_example_counts_for_a_dev_dependency_only() {
        let line = "/// let dir = tempfile::tempdir()?;";
        assert!(names(line, &dependency("tempfile", Some(Kind::Dev))));
        assert!(!names(line, &dependency("tempfile", None)));
    }

    #[test]
    fn a_name_in_another_crate_does_not_count() {
        let members = [member("a", &[("serde", None)]), member("ab", &[])];
        let files = [file("crates/ab/src/lib.rs", "use serde::Serialize;")];
        let findings = check(&members, &files);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].at, "crates/a/Cargo.toml");
    }

    #[test]
    fn a_renamed_dependency_is_looked_for_under_its_new_name() {
        let mut renamed = dependency("serde_json", None);
        renamed.rename = Some("json".to_owned());
        assert!(names("use json::Value;", &renamed));
        assert!(!names("use serde_json::Value;", &renamed));
    }
}
