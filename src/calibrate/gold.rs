//! The word aligner against alignments that people made. The data has licences of its own and is
//! not part of the project: `ALIGNATT_ALIGNMENTS` names a folder with the sets as they are
//! published (docs/measurements.md, "Word alignment").

use std::path::Path;

use super::word_aligner::{Words, align};

type Links = Vec<(usize, usize)>;
/// Links of people, each with whether they are sure of it.
type Gold = Vec<((usize, usize), bool)>;

/// A set of sentence pairs with the links of people, and the alignment error rate that ours may
/// have at most. It is learnt from these few pairs alone.
struct Set {
    name: &'static str,
    pairs: Vec<Words>,
    gold: Vec<Gold>,
    most: f64,
}

/// Alignment error rate (Och and Ney 2003): possible links are not wrong, and not missed.
fn error_rate(found: &[Links], gold: &[Gold]) -> f64 {
    let (mut right, mut all) = (0, 0);
    for (found, gold) in found.iter().zip(gold) {
        let sure = gold.iter().filter(|(_, sure)| *sure).count();
        let of = |link: &(usize, usize)| {
            gold.iter().filter(|(gold, _)| gold == link).map(|(_, sure)| 1 + usize::from(*sure)).sum::<usize>()
        };
        right += found.iter().map(of).sum::<usize>();
        all += found.len() + sure;
    }
    1.0 - right as f64 / all.max(1) as f64
}

fn words(text: &str) -> Vec<String> {
    text.trim_start_matches('\u{feff}').split_whitespace().map(str::to_owned).collect()
}

/// Links `0-0 1p2`, counted from `first`, as (source, target); `p` marks a possible link.
fn links(line: &str, first: usize) -> Gold {
    let link = |link: &str| {
        let (source, target) = link.split_once(['-', 'p'])?;
        let place = |text: &str| text.parse::<usize>().ok()?.checked_sub(first);
        Some(((place(source)?, place(target)?), link.contains('-')))
    };
    line.trim_start_matches('\u{feff}').split_whitespace().filter_map(link).collect()
}

fn sets(folder: &Path) -> std::io::Result<[Set; 3]> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    let swapped = |links: Gold| links.into_iter().map(|((a, b), sure)| ((b, a), sure)).collect::<Gold>();
    let (english, german) = (read("bicici-de-en/test.en")?, read("bicici-de-en/test.de")?);
    let german = Set {
        name: "en-de, Europarl (Bicici)",
        pairs: english.lines().zip(german.lines()).map(|(en, de)| (words(en), words(de))).collect(),
        gold: read("bicici-de-en/de-en.wa")?.lines().map(|line| swapped(links(line, 0))).collect(),
        most: 0.5,
    };
    let table = read("xlwa-en-it/dev.tsv")?;
    let column = |line: &str, at: usize| line.split('\t').nth(at).unwrap_or_default().to_owned();
    let italian = Set {
        name: "en-it, XL-WA",
        pairs: table.lines().map(|line| (words(&column(line, 0)), words(&column(line, 1)))).collect(),
        gold: table.lines().map(|line| links(&column(line, 2), 0)).collect(),
        most: 0.42,
    };
    let pairs = read("zhen-tsinghua/zhen.src-tgt")?;
    let pair = |line: &str| line.split_once(" ||| ").map(|(zh, en)| (words(en), words(zh))).unwrap_or_default();
    let chinese = Set {
        name: "en-zh, TsinghuaAligner",
        pairs: pairs.lines().map(pair).collect(),
        gold: read("zhen-tsinghua/zhen.gold")?.lines().map(|line| swapped(links(line, 1))).collect(),
        most: 0.55,
    };
    Ok([german, italian, chinese])
}

#[test]
fn people_link_the_same_words() {
    let Some(folder) = std::env::var_os("ALIGNATT_ALIGNMENTS") else {
        println!("NOT RUN word alignments made by people: set ALIGNATT_ALIGNMENTS");
        return;
    };
    for Set { name, pairs, gold, most } in sets(Path::new(&folder)).expect("the sets") {
        assert_eq!(pairs.len(), gold.len(), "{name}");
        let found = align(&pairs, |_, _| {});
        let rate = error_rate(&found, &gold);
        let counts = (found.iter().map(Vec::len).sum::<usize>(), gold.iter().map(Vec::len).sum::<usize>());
        println!("{name}: {} pairs, {counts:?} links (ours, people's), AER {:.1} %", pairs.len(), 100.0 * rate);
        assert!(rate < most, "{name}: {rate}");
    }
}
