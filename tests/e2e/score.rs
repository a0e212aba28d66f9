//! Error rates of words and units, for limits in tests.

/// The words of a text in lower case, without punctuation.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| word.chars().filter(|c| c.is_alphanumeric() || *c == '\'').collect::<String>().to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

/// The units of a text: words, or characters in Chinese.
pub fn units(text: &str, language: &str) -> Vec<String> {
    match language {
        "zh" => text.chars().filter(|c| c.is_alphanumeric()).map(String::from).collect(),
        _ => words(text),
    }
}

/// The edit distance of `got` from `want`, divided by the length of `want`.
pub fn errors(got: &[String], want: &[String]) -> f64 {
    let mut row: Vec<usize> = (0..=want.len()).collect();
    for (i, g) in got.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, w) in want.iter().enumerate() {
            let replaced = diagonal + usize::from(g != w);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[want.len()] as f64 / want.len().max(1) as f64
}
