//! The known word that a misspelt one resembles most, for "did you mean".
//!
//! Damerau-Levenshtein distance in its restricted form (optimal string alignment): one insertion, deletion,
//! substitution or swap of neighbours costs 1.

/// The word of `known` nearest to `got`, if it is near enough to be meant; the first of equals.
pub(crate) fn nearest<'k>(got: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A third of the word wrong is a slip, more is another word.
    let limit = got.chars().count().div_ceil(3);
    let ranked = known.into_iter().map(|word| (distance(got, word), word));
    ranked.filter(|&(d, _)| d <= limit).min_by_key(|&(d, _)| d).map(|(_, word)| word)
}

fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Rows i-2, i-1 and i of the table.
    let (mut older, mut old): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = old[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(old[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(older[j - 2] + 1);
            }
            row.push(best);
        }
        older = core::mem::replace(&mut old, row);
    }
    old[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["rows", "columns", "numbering", "bus"];
        assert_eq!(nearest("colums", known), Some("columns"));
        assert_eq!(nearest("rwos", known), Some("rows"));
        assert_eq!(nearest("numbring", known), Some("numbering"));
        assert_eq!(nearest("buss", known), Some("bus"));
        assert_eq!(nearest("fixture", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn a_swap_of_neighbours_counts_once() {
        assert_eq!(distance("strap", "starp"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(a in ".{0,12}", b in ".{0,12}") {
            let d = distance(&a, &b);
            prop_assert_eq!(d, distance(&b, &a));
            prop_assert!(d <= a.chars().count().max(b.chars().count()));
            prop_assert_eq!(d == 0, a == b);
        }
    }
}
