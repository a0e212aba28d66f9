//! The head sets that come with the program (`heads/` in the repository, with the published
//! figures), and which of them a model can use.
//!
//! A set belongs to the models of one family and of the same sizes: the model that was measured,
//! and those that were trained from the same one. A model's name decides where several were
//! measured. Source: docs/method.md, section 3.4.

use super::heads::HeadSet;
use crate::text::language::Language;

/// What is known of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model<'a> {
    /// An id, a folder or a file, such as `google/gemma-4-E4B-it`.
    pub name: &'a str,
    pub family: &'a str,
    pub layers: usize,
    /// Attention heads per layer.
    pub heads: usize,
    /// Width of the residual stream.
    pub hidden: usize,
}

/// The set that a model can use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub set: HeadSet,
    /// Whether the model's name says that it is the one that was measured.
    pub by_name: bool,
}

/// The set for `model` in a direction. `None` if no model of its family and sizes was measured, or
/// several were and its name is none of theirs.
pub(crate) fn find(model: &Model<'_>, source: Language, target: Language) -> Option<Found> {
    let fits = |of: &Model<'_>| {
        (of.family, of.layers, of.heads, of.hidden) == (model.family, model.layers, model.heads, model.hidden)
    };
    let ending = format!(".{source}-{target}.json");
    let fitting: Vec<_> = SHIPPED
        .iter()
        .filter(|(of, _)| fits(of))
        .filter_map(|(of, sets)| Some((of.name, sets.iter().find(|(file, _)| file.ends_with(&ending))?)))
        .collect();
    let name = letters(model.name);
    let named = fitting.iter().filter(|(of, _)| name.contains(&letters(of))).max_by_key(|(of, _)| of.len());
    let (_, (file, text)) = match (named, fitting.as_slice()) {
        (Some(named), _) => named,
        (None, [only]) => only,
        _ => return None,
    };
    Some(Found { set: HeadSet::parse(text, file).ok()?, by_name: named.is_some() })
}

/// The letters and digits of a name, in lower case: files and repositories spell the rest
/// differently.
fn letters(name: &str) -> String {
    name.chars().filter(|symbol| symbol.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

macro_rules! sets {
    ($($file:literal),*) => { &[$(($file, include_str!(concat!("../../heads/", $file)))),*] };
}

/// A file's name and its text.
type Set = (&'static str, &'static str);

const SHIPPED: [(Model<'static>, &[Set]); 6] = [
    (
        Model { name: "gemma-4-e2b-it", family: "Gemma-4", layers: 35, heads: 8, hidden: 1536 },
        sets!["gemma-4-e2b-it.en-de.json", "gemma-4-e2b-it.en-it.json"],
    ),
    (
        Model { name: "gemma-4-e4b-it", family: "Gemma-4", layers: 42, heads: 8, hidden: 2560 },
        sets!["gemma-4-e4b-it.en-de.json", "gemma-4-e4b-it.en-it.json", "gemma-4-e4b-it.en-zh.json"],
    ),
    (
        Model { name: "milmmt-46-4b-v0.1", family: "Gemma-3", layers: 34, heads: 8, hidden: 2560 },
        sets!["milmmt-46-4b-v0.1.en-de.json", "milmmt-46-4b-v0.1.en-it.json", "milmmt-46-4b-v0.1.en-zh.json"],
    ),
    (
        Model { name: "qwen3-1.7b", family: "Qwen3", layers: 28, heads: 16, hidden: 2048 },
        sets!["qwen3-1.7b.en-de.json"],
    ),
    (
        Model { name: "qwen3-4b-instruct-2507", family: "Qwen3", layers: 36, heads: 32, hidden: 2560 },
        sets![
            "qwen3-4b-instruct-2507.en-de.json",
            "qwen3-4b-instruct-2507.en-it.json",
            "qwen3-4b-instruct-2507.en-zh.json"
        ],
    ),
    (
        Model { name: "gemma-3-270m", family: "Gemma-3", layers: 18, heads: 4, hidden: 640 },
        sets!["gemma-3-270m.en-de.json", "gemma-3-270m.en-it.json", "gemma-3-270m.en-zh.json"],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    const EN: Language = Language::ENGLISH;

    #[test]
    fn every_set_is_whole_and_found() {
        let mut files = 0;
        for (model, sets) in SHIPPED {
            for (file, text) in sets {
                let set = HeadSet::parse(text, file).expect("a shipped set parses");
                assert!(set.heads.len() >= 8, "{file}");
                assert!(set.heads.iter().all(|head| head.layer < model.layers && head.head < model.heads), "{file}");
                assert!(Language::TARGETS.contains(&set.target), "{file}: nothing can ask for it");
                assert_eq!(*file, format!("{}.{}-{}.json", model.name, set.source, set.target));
                assert_eq!(letters(set.model.rsplit('/').next().expect("a part")), letters(model.name), "{file}");
                let named = Model { name: &set.model, ..model };
                assert_eq!(find(&named, set.source, set.target), Some(Found { set, by_name: true }), "{file}");
                files += 1;
            }
        }
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/heads")).expect("the folder of sets");
        assert_eq!(folder.count(), files, "a file in heads/ that is not in the list");
    }

    #[test]
    fn the_best_heads_are_those_that_were_published() {
        let top = |name: &str, target| -> Vec<(usize, usize)> {
            let (model, _) = SHIPPED.iter().find(|(model, _)| model.name == name).expect("known");
            let found = find(model, EN, target).expect("shipped");
            found.set.top(4).iter().map(|head| (head.layer, head.head)).collect()
        };
        assert_eq!(top("gemma-4-e4b-it", Language::GERMAN), [(11, 3), (6, 5), (17, 3), (20, 0)]);
        assert_eq!(top("gemma-4-e2b-it", Language::GERMAN), [(9, 7), (9, 1), (12, 5), (4, 6)]);
        assert_eq!(top("milmmt-46-4b-v0.1", Language::ITALIAN), [(11, 2), (11, 3), (6, 4), (4, 2)]);
        assert_eq!(top("qwen3-4b-instruct-2507", Language::CHINESE), [(15, 9), (5, 4), (12, 24), (19, 27)]);
        assert_eq!(top("qwen3-1.7b", Language::GERMAN)[0], (11, 13));
    }

    #[test]
    fn a_file_or_a_folder_finds_the_heads_of_its_sizes() {
        let e4b = Model { name: "", family: "Gemma-4", layers: 42, heads: 8, hidden: 2560 };
        let find = |model: &Model<'_>| find(model, EN, Language::GERMAN);
        for (name, by_name) in [
            ("google/gemma-4-E4B-it", true),
            ("unsloth/gemma-4-E4B-it-GGUF/gemma-4-E4B-it-Q4_0.gguf", true),
            (r"C:\models\Gemma_4_E4B_it\", true),
            ("my-model.gguf", false),
            ("models/gemma-4-e4b-lectures", false),
        ] {
            let found = find(&Model { name, ..e4b }).expect(name);
            assert_eq!((found.set.model.as_str(), found.by_name), ("google/gemma-4-E4B-it", by_name), "{name}");
        }
        // A name does not make up for other sizes or another family.
        let named = Model { name: "google/gemma-4-E4B-it", ..e4b };
        for other in [
            Model { layers: 35, ..named },
            Model { heads: 16, ..named },
            Model { hidden: 1536, ..named },
            Model { family: "Gemma-3", ..named },
        ] {
            assert_eq!(find(&other), None, "{other:?}");
        }
        // The same layers and heads, another width: Qwen3-0.6B was not measured.
        let small = Model { name: "Qwen/Qwen3-0.6B", family: "Qwen3", layers: 28, heads: 16, hidden: 1024 };
        assert_eq!(find(&small), None);
        assert!(find(&Model { name: "Qwen/Qwen3-1.7B", hidden: 2048, ..small }).is_some_and(|found| found.by_name));
    }

    #[test]
    fn no_set_serves_another_direction() {
        let e2b = SHIPPED[0].0;
        assert!(find(&e2b, EN, Language::ITALIAN).is_some());
        assert_eq!(find(&e2b, EN, Language::CHINESE), None);
        assert_eq!(find(&e2b, Language::GERMAN, Language::ITALIAN), None);
    }
}
