//! Which GGUF files belong to one model, by their names: the parts of a split file, and the part
//! that hears or sees (`mmproj-…`).

/// The ending of all names.
pub(crate) const SUFFIX: &str = ".gguf";
/// The beginning of the name of a file with the part of a model that hears or sees.
const TOWER: &str = "mmproj";
/// The most parts of a split file.
const MAX_PARTS: usize = 1024;

/// The precisions of towers, the preferred first: as exact as what is published, and not larger.
const PRECISIONS: [&str; 4] = ["bf16", "f16", "q8_0", "f32"];

/// Whether this is the name of a GGUF file, in a folder or below it.
pub(crate) fn is_gguf(name: &str) -> bool {
    let last = last(name);
    last.len() > SUFFIX.len() && last.to_ascii_lowercase().ends_with(SUFFIX)
}

/// Whether this is the name of a tower's file.
pub(crate) fn is_tower(name: &str) -> bool {
    is_gguf(name) && last(name).to_ascii_lowercase().starts_with(TOWER)
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// `stem-00002-of-00005.gguf` → the stem, 2 and 5; `None` for the name of a whole file.
fn split_name(name: &str) -> Option<(&str, usize, usize)> {
    let stem = name.strip_suffix(SUFFIX)?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(number) || !digits(count) {
        return None;
    }
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (1 <= number && number <= count && count <= MAX_PARTS).then_some((stem, number, count))
}

/// All files of the model that `name` is a file of, in order: itself, or the parts of a split file.
pub(crate) fn parts(name: &str) -> Vec<String> {
    match split_name(name) {
        None => vec![name.to_owned()],
        Some((stem, _, count)) => {
            (1..=count).map(|number| format!("{stem}-{number:05}-of-{count:05}{SUFFIX}")).collect()
        }
    }
}

/// The models among the files of a folder: whole files, and the first parts of split ones; no
/// towers.
pub(crate) fn models<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let is_model =
        |name: &&str| is_gguf(name) && !is_tower(name) && split_name(name).is_none_or(|(_, number, _)| number == 1);
    let mut models: Vec<&str> = names.into_iter().filter(is_model).collect();
    models.sort_unstable();
    models
}

/// The tower among the files beside `model`: the only one, or the one that is called like the model
/// but for its precision. Of several precisions one that is exact is taken. `None` if there is none
/// or it is not clear which.
pub(crate) fn tower<'n>(model: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let folder = |name: &str| name.len() - last(name).len();
    let beside = |name: &&str| is_tower(name) && name[..folder(name)] == model[..folder(model)];
    let towers: Vec<&str> = names.into_iter().filter(beside).collect();
    if let [only] = towers[..] {
        return Some(only);
    }
    let model = last(model).to_ascii_lowercase();
    let rank = |name: &str| {
        let name = last(name).to_ascii_lowercase();
        let stem = name[TOWER.len()..name.len() - SUFFIX.len()].trim_matches(['-', '_', '.']).to_owned();
        let found = PRECISIONS.iter().position(|precision| stem.ends_with(precision));
        let stem =
            found.map_or(&*stem, |at| stem[..stem.len() - PRECISIONS[at].len()].trim_end_matches(['-', '_', '.']));
        // "f16" ends "bf16", which stands before it.
        model.starts_with(stem).then_some(found.unwrap_or(PRECISIONS.len()))
    };
    let ranked = towers.into_iter().filter_map(|name| Some((rank(name)?, name)));
    ranked.min()?.1.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_split_file() {
        assert_eq!(parts("a.gguf"), ["a.gguf"]);
        let all = ["x/a-00001-of-00003.gguf", "x/a-00002-of-00003.gguf", "x/a-00003-of-00003.gguf"];
        assert_eq!(parts("x/a-00002-of-00003.gguf"), all);
        for whole in ["a-0001-of-0003.gguf", "a-00004-of-00003.gguf", "a-00000-of-00003.gguf", "a-00001-of-99999.gguf"]
        {
            assert_eq!(parts(whole), [whole]);
        }
        for name in ["", ".gguf", "ä", "-of-.gguf"] {
            parts(name);
            assert!(!is_tower(name));
        }
    }

    #[test]
    fn models_of_a_folder() {
        let names = ["b.gguf", "a-00002-of-00002.gguf", "mmproj-b.gguf", "a-00001-of-00002.gguf", "config.json"];
        assert_eq!(models(names), ["a-00001-of-00002.gguf", "b.gguf"]);
    }

    #[test]
    fn the_tower_of_a_model() {
        let asr = "Qwen3-ASR-0.6B-Q8_0.gguf";
        let names = [
            "mmproj-Qwen3-ASR-0.6B-f32.gguf",
            "mmproj-Qwen3-ASR-0.6B-bf16.gguf",
            "mmproj-Qwen3-ASR-0.6B-f16.gguf",
            "mmproj-Qwen3-ASR-1.7B-bf16.gguf",
            asr,
        ];
        assert_eq!(tower(asr, names), Some("mmproj-Qwen3-ASR-0.6B-bf16.gguf"));
        assert_eq!(tower(asr, ["mmproj-F16.gguf", "mmproj-F32.gguf"]), Some("mmproj-F16.gguf"));
        assert_eq!(tower(asr, ["mmproj-anything.gguf"]), Some("mmproj-anything.gguf"));
        assert_eq!(tower(asr, ["mmproj-x.gguf", "mmproj-y.gguf"]), None);
        assert_eq!(tower(asr, ["other/mmproj-F16.gguf", asr]), None);
        assert_eq!(tower("x/a-q4_0.gguf", ["x/mmproj-a-f16.gguf", "mmproj-a-f16.gguf"]), Some("x/mmproj-a-f16.gguf"));
    }
}
