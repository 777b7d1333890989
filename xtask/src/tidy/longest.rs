//! The longest files and functions, for a reader to judge. Never a finding: length is a hint.
//!
//! Functions are found by their indentation, which the formatter guarantees: one ends at the first
//! later line that is its own indentation and a closing brace.

use std::fmt::Write as _;

use super::workspace::SourceFile;

const SHOWN: usize = 10;

pub(super) fn report(files: &[SourceFile]) -> String {
    let mut by_file: Vec<(usize, String)> = files
        .iter()
        .map(|file| (file.text.lines().count(), file.path.clone()))
        .collect();
    let mut by_function: Vec<(usize, String)> = files.iter().flat_map(functions).collect();
    let mut out = String::new();
    for (title, list) in [("files", &mut by_file), ("functions", &mut by_function)] {
        list.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "longest {title} (lines):");
        for (lines, name) in list.iter().take(SHOWN) {
            let _ = writeln!(out, "{lines:>6}  {name}");
        }
    }
    out
}

fn functions(file: &SourceFile) -> Vec<(usize, String)> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indentation = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indentation}}}");
        let end = if line.ends_with('}') || line.ends_with(';') {
            Some(start)
        } else {
            (start..lines.len()).find(|at| lines[*at] == closing)
        };
        if let Some(end) = end {
            found.push((
                end - start + 1,
                format!("{}:{} {name}", file.path, start + 1),
            ));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    if let Some(public) = rest.strip_prefix("pub") {
        rest = match public.strip_prefix('(') {
            Some(scope) => scope.split_once(')')?.1,
            None => public,
        };
        rest = rest.trim_start();
    }
    for qualifier in ["const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(qualifier).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    Some(&name[..end])
}

#[cfg(test)]
mod tests {
    use super::super::workspace::file;
    use super::*;

    #[test]
    fn a_function_ends_at_the_brace_of_its_own_indentation() {
        let text = "impl A {\n    pub(crate) async fn long(\n        x: u8,\n    ) {\n        if x {\n        }\n    }\n    fn short() {}\n}\n";
        assert_eq!(
            functions(&file("a.rs", text)),
            [
                (6, "a.rs:2 long".to_owned()),
                (1, "a.rs:8 short".to_owned())
            ]
        );
    }

    #[test]
    fn the_report_lists_the_longest_first_and_no_more_than_it_promises() {
        let files: Vec<_> = (1..=15)
            .map(|lines| file(&format!("f{lines}.rs"), &"x\n".repeat(lines)))
            .collect();
        let report = report(&files);
        let listed: Vec<_> = report.lines().collect();
        assert!(listed[1].ends_with("15  f15.rs"));
        assert_eq!(listed.len(), SHOWN + 2);
    }
}
