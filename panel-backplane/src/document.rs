//! Reading a TOML file so that everything wrong with it is reported at once, each with its line and column.
//!
//! A [`Document`] is the parsed text and the list of problems found so far; a [`Section`] is one table of it.
//! Every value is asked for by its key; what was never asked for is an unknown key, and the keys that were
//! asked for are the ones it is compared with. Reading goes on after a problem (the value is then `None`), so
//! that one look at the message is enough to mend the file. Used for panel.toml and job.toml.
//!
//! serde is not used here: it stops at the first problem, and cannot say what two entries clash.

use core::cell::RefCell;
use core::str::FromStr;

use toml::de::{DeTable, DeValue};

use crate::nearest::nearest;
use crate::problem::{Position, Problem, ProblemKind, Problems};

/// A place in the text, as an offset in bytes; made into a [`Position`] when it is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(usize);

impl At {
    /// The begin of the text.
    pub const START: Self = Self(0);
}

/// A value and where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: At,
}

/// Why a TOML value is not a value of the type asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// Another TOML type.
    Type,
    /// The right type, and not allowed; the text says why.
    Value(String),
    /// None of the allowed words.
    Word(Vec<&'static str>),
}

/// A type that a TOML value can be read as.
pub trait FromToml: Sized {
    /// What is wanted, with article and perhaps an example: `a whole number`.
    const EXPECTED: &'static str;

    /// Reads the value.
    ///
    /// # Errors
    /// A [`Mismatch`]; the caller adds key and place.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch>;
}

/// A TOML text with the problems found in it.
#[derive(Debug)]
pub struct Document<'t> {
    text: &'t str,
    root: DeTable<'t>,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Document<'t> {
    /// Parses `text`; syntax errors become problems, and what could be parsed is read all the same.
    #[must_use]
    pub fn parse(text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self { text, root: root.into_inner(), problems: RefCell::default() };
        for error in errors {
            let at = At(error.span().map_or(0, |span| span.start));
            document.report(at, ProblemKind::Syntax { message: error.message().to_owned() });
        }
        document
    }

    /// The outermost table.
    #[must_use]
    pub fn root(&self) -> Section<'_> {
        Section {
            document: self,
            table: &self.root,
            name: "the file".to_owned(),
            at: At::START,
            asked: Vec::new(),
        }
    }

    /// Notes a problem.
    pub fn report(&self, at: At, kind: ProblemKind) {
        self.problems.borrow_mut().push(Problem { at: self.position(at), kind });
    }

    /// Notes that the values at `at` do not go together with others.
    pub fn contradiction(&self, at: At, reason: impl Into<String>) {
        self.report(at, ProblemKind::Contradiction { reason: reason.into() });
    }

    /// Line and column of a place.
    #[must_use]
    pub fn position(&self, at: At) -> Position {
        let mut end = at.0.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            line: count(1 + before.matches('\n').count()),
            column: count(1 + before[line_start..].chars().count()),
        }
    }

    /// `value`, if the text was read without a problem.
    ///
    /// # Errors
    /// All the problems. A missing `value` without a problem is one too.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        if value.is_none() && self.problems.borrow().is_empty() {
            self.contradiction(At::START, "the file could not be read");
        }
        let problems = self.problems.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(Problems::sorted(problems)),
        }
    }
}

/// One table of a document. Unknown keys are reported when it is dropped.
#[derive(Debug)]
pub struct Section<'d> {
    document: &'d Document<'d>,
    table: &'d DeTable<'d>,
    name: String,
    at: At,
    asked: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// Whether `key` is there, right or wrong.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the table begins.
    #[must_use]
    pub fn at(&self) -> At {
        self.at
    }

    /// The value of `key`, or `None` if it is absent or wrong (and then reported).
    pub fn get<T: FromToml>(&mut self, key: &'static str) -> Option<Located<T>> {
        let (value, at) = self.value(key)?;
        self.read(key, value, at)
    }

    /// The value of `key`; its absence is reported.
    pub fn need<T: FromToml>(&mut self, key: &'static str) -> Option<Located<T>> {
        if !self.has(key) {
            self.missing(key);
        }
        self.get(key)
    }

    /// The value of `key`, or `default` if it is absent or wrong (and then reported).
    pub fn get_or<T: FromToml>(&mut self, key: &'static str, default: T) -> T {
        self.get(key).map_or(default, |l| l.value)
    }

    /// The elements of the array `key`, without those that are wrong (and then reported).
    pub fn get_list<T: FromToml>(&mut self, key: &'static str) -> Option<Located<Vec<Located<T>>>> {
        let (value, at) = self.value(key)?;
        let Some(array) = value.as_array() else {
            self.wrong_type(key, at, "a list in square brackets", value);
            return None;
        };
        let elements = array.iter().filter_map(|e| self.read(key, e.get_ref(), At(e.span().start)));
        Some(Located { value: elements.collect(), at })
    }

    /// The table `key`.
    pub fn section(&mut self, key: &'static str) -> Option<Self> {
        let (value, at) = self.value(key)?;
        let Some(table) = value.as_table() else {
            self.wrong_type(key, at, "a table", value);
            return None;
        };
        Some(self.child(table, format!("[{key}]"), at))
    }

    /// The tables `[[key]]`, in their order; none if there is no such key.
    pub fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let Some((value, at)) = self.value(key) else { return Vec::new() };
        let Some(array) = value.as_array() else {
            self.wrong_type(key, at, "a list of tables, each under `[[...]]`", value);
            return Vec::new();
        };
        let mut out = Vec::new();
        for element in array {
            let at = At(element.span().start);
            match element.get_ref().as_table() {
                Some(table) => out.push(self.child(table, format!("[[{key}]]"), at)),
                None => self.wrong_type(key, at, "a table", element.get_ref()),
            }
        }
        out
    }

    /// Reports that `key` is missing.
    pub fn missing(&self, key: &'static str) {
        self.document.report(self.at, ProblemKind::MissingKey { key, section: self.name.clone() });
    }

    /// Reports that the value of `key` at `at` cannot be used.
    pub fn bad_value(&self, key: &'static str, at: At, reason: impl Into<String>) {
        self.document.report(at, ProblemKind::BadValue { key: key.to_owned(), reason: reason.into() });
    }

    fn child(&self, table: &'d DeTable<'d>, name: String, at: At) -> Self {
        Self { document: self.document, table, name, at, asked: Vec::new() }
    }

    fn value(&mut self, key: &'static str) -> Option<(&'d DeValue<'d>, At)> {
        self.asked.push(key);
        let value = self.table.get(key)?;
        Some((value.get_ref(), At(value.span().start)))
    }

    fn read<T: FromToml>(&self, key: &str, value: &DeValue<'_>, at: At) -> Option<Located<T>> {
        let kind = match T::from_toml(value) {
            Ok(value) => return Some(Located { value, at }),
            Err(Mismatch::Type) => {
                self.wrong_type(key, at, T::EXPECTED, value);
                return None;
            }
            Err(Mismatch::Value(reason)) => ProblemKind::BadValue { key: key.to_owned(), reason },
            Err(Mismatch::Word(allowed)) => {
                let got = value.as_str().unwrap_or_default().to_owned();
                let nearest = nearest(&got, allowed.iter().copied()).map(str::to_owned);
                ProblemKind::NotOneOf { key: key.to_owned(), got, allowed, nearest }
            }
        };
        self.document.report(at, kind);
        None
    }

    fn wrong_type(&self, key: &str, at: At, expected: &'static str, got: &DeValue<'_>) {
        let got = match got {
            DeValue::String(_) => "a text in quotes",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.document.report(at, ProblemKind::WrongType { key: key.to_owned(), expected, got });
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let kind = ProblemKind::UnknownKey {
                    key: name.to_owned(),
                    section: self.name.clone(),
                    nearest: nearest(name, self.asked.iter().copied()).map(str::to_owned),
                };
                self.document.report(At(key.span().start), kind);
            }
        }
    }
}

/// A text that parses itself; what `FromStr` says becomes the reason.
///
/// # Errors
/// [`Mismatch::Type`] for anything but a text, [`Mismatch::Value`] with the error's own words.
pub fn parsed<T: FromStr<Err: core::fmt::Display>>(value: &DeValue<'_>) -> Result<T, Mismatch> {
    let text = value.as_str().ok_or(Mismatch::Type)?;
    text.parse().map_err(|e: T::Err| Mismatch::Value(e.to_string()))
}

/// One of a few words.
///
/// # Errors
/// [`Mismatch::Type`] for anything but a text, [`Mismatch::Word`] for another word.
pub fn word<T: Clone>(value: &DeValue<'_>, words: &[(&'static str, T)]) -> Result<T, Mismatch> {
    let text = value.as_str().ok_or(Mismatch::Type)?;
    let found = words.iter().find(|(w, _)| *w == text).map(|(_, t)| t.clone());
    found.ok_or_else(|| Mismatch::Word(words.iter().map(|(w, _)| *w).collect()))
}
