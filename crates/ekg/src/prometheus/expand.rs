//! Variables of the environment in a text, as `$NAME` or `${NAME}`; `$$` is a dollar.

use super::Environment;

/// The text with its variables' values; one that is not set is empty, as with Prometheus.
pub(super) fn expanded(text: &str, environment: Environment<'_>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded += before;
        let (name, behind) = name(after);
        match name {
            Some("$") | None => expanded.push('$'),
            Some(name) => expanded += &environment(name).unwrap_or_default(),
        }
        rest = behind;
    }
    expanded + rest
}

/// The name behind a dollar, and what follows it; none where none is meant.
fn name(after: &str) -> (Option<&str>, &str) {
    if let Some(behind) = after.strip_prefix('$') {
        return (Some("$"), behind);
    }
    if let Some((name, behind)) = after.strip_prefix('{').and_then(|it| it.split_once('}')) {
        return (Some(name), behind);
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
    let (name, behind) = after.split_at(end);
    (Some(name).filter(|it| !it.is_empty()), behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_give_way_to_their_values() {
        let environment = |name: &str| (name == "DC").then(|| "lax".to_owned());
        for (text, becomes) in [
            ("$DC", "lax"),
            ("a-${DC}-b", "a-lax-b"),
            ("$DC.$NONE.", "lax.."),
            ("$$DC 5$ $-", "$DC 5$ $-"),
            ("${DC", "${DC"),
        ] {
            assert_eq!(expanded(text, &environment), becomes, "{text}");
        }
    }
}
