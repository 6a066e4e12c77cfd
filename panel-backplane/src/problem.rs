//! What can be wrong with a file, and where: every problem of a file is reported, in the order of its lines.
//!
//! Text only, no file names: the caller knows which file it read and puts its name in front.

use core::fmt;

/// A place in a text, both counted from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong at one place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// The text is not TOML.
    #[error("not valid TOML: {message}")]
    Syntax {
        /// What the TOML parser says.
        message: String,
    },
    /// A key that nothing reads.
    #[error("unknown key `{key}` in {section}{}", hint(nearest.as_deref()))]
    UnknownKey {
        /// The key.
        key: String,
        /// The table it stands in.
        section: String,
        /// The known key that it resembles most, if any does.
        nearest: Option<String>,
    },
    /// A key that must be there is not.
    #[error("{section} needs the key `{key}`")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// The table that lacks it.
        section: String,
    },
    /// A value of another type.
    #[error("`{key}` must be {expected}, not {got}")]
    WrongType {
        /// The key.
        key: String,
        /// What is wanted, with an example.
        expected: &'static str,
        /// The TOML type found.
        got: &'static str,
    },
    /// A word that is not one of the allowed ones.
    #[error("`{key}` is `{got}`, which is none of {}{}", list(allowed), hint(nearest.as_deref()))]
    NotOneOf {
        /// The key.
        key: String,
        /// The word found.
        got: String,
        /// The allowed words.
        allowed: Vec<&'static str>,
        /// The allowed word that it resembles most, if any does.
        nearest: Option<String>,
    },
    /// A value of the right type that is not allowed.
    #[error("`{key}` is not usable: {reason}")]
    BadValue {
        /// The key.
        key: String,
        /// Why, with the value and what is allowed.
        reason: String,
    },
    /// Two things claim what only one can have.
    #[error("{what}{}", first.map(|p| format!(" (first on line {})", p.line)).unwrap_or_default())]
    Clash {
        /// The two and what they claim.
        what: String,
        /// Where the first one stands, if it was written down.
        first: Option<Position>,
    },
    /// Values that are right by themselves and do not go together.
    #[error("{reason}")]
    Contradiction {
        /// Why.
        reason: String,
    },
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {kind}")]
pub struct Problem {
    /// Where.
    pub at: Position,
    /// What.
    #[source]
    pub kind: ProblemKind,
}

/// Everything that is wrong with one file; never empty, in the order of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// A list that is not empty, put in the order of lines.
    pub(crate) fn sorted(mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|p| p.at);
        list.dedup();
        Self(list)
    }

    /// The problems, at least one.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

/// One problem a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Problems {}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
}

fn list(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}
