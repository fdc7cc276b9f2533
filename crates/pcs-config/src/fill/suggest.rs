//! What somebody who wrote an unknown key may have meant.

use crate::keys;
use crate::table::{Kind, Section};

use super::join;

/// The message for a key that a section does not have.
pub(super) fn unknown_key(section: &'static Section, path: &str, key: &str) -> String {
    let head = format!("unknown key `{}`", join(path, key));
    if let Some(name) = nearest(key, section.keys.iter().map(|key| key.name)) {
        return format!("{head}, did you mean `{name}`?");
    }
    if let Some(place) = elsewhere(&keys::ROOT, "", key) {
        return format!("{head}, did you mean `{place}`?");
    }
    let names: Vec<_> = section.keys.iter().map(|key| format!("`{}`", key.name)).collect();
    format!("{head} (allowed: {})", names.join(", "))
}

/// The name that differs least, if it differs little.
pub(crate) fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let text = text.to_ascii_lowercase();
    let limit = (text.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (distance(&text, name), name))
        .filter(|(far, _)| *far <= limit)
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

/// Where a key of that very name stands, if it is in one section only.
fn elsewhere(section: &'static Section, path: &str, name: &str) -> Option<String> {
    let mut found = None;
    for key in section.keys {
        let here = join(path, key.name);
        let hit = match &key.kind {
            _ if key.name == name && !path.is_empty() => Some(here),
            Kind::Section(inner) => elsewhere(inner, &here, name),
            _ => None,
        };
        if let Some(hit) = hit {
            if found.is_some() {
                return None;
            }
            found = Some(hit);
        }
    }
    found
}

/// How many letters have to be put in, left out, changed or swapped with a neighbour to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (above[j] + usize::from(x != y))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["strategy", "proxies", "port", "host"];
        let cases = [
            ("stategy", Some("strategy")),
            ("Strategy", Some("strategy")),
            ("proxy", None),
            ("proxie", Some("proxies")),
            ("prot", Some("port")),
            ("hots", Some("host")),
            ("completely_else", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(nearest(text, names.into_iter()), expected, "{text}");
        }
    }
}
