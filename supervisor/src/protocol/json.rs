//! JSON as it came in, and what our messages ask of it.
//!
//! Serde's derived readers are some 60 KiB of code for our messages, a twentieth of the program. One reader that
//! takes any JSON, and a few functions that pick out of it, do the same.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Why a line is not what it should be.
pub(super) type Unfit = serde_json::Error;

/// A value of any kind.
#[derive(Debug)]
pub(super) enum Json {
    /// `null`.
    Null,
    /// A whole number.
    Number(i128),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(Object),
    /// `true`, `false` and numbers that are not whole: no message of ours has them.
    Other,
}

/// An object, out of which keys are taken. One that has a key twice is refused when it is read.
#[derive(Debug)]
pub(super) struct Object(Vec<(String, Json)>);

impl Json {
    /// The value as an object.
    pub(super) fn object(self) -> Result<Object, Unfit> {
        match self {
            Self::Object(object) => Ok(object),
            Self::Null | Self::Number(_) | Self::Text(_) | Self::List(_) | Self::Other => {
                Err(Unfit::custom("expected an object"))
            }
        }
    }

    /// The value as a whole number of the type that is asked for.
    fn number<N: TryFrom<i128>>(&self) -> Option<N> {
        match self {
            Self::Number(number) => N::try_from(*number).ok(),
            Self::Null | Self::Text(_) | Self::List(_) | Self::Object(_) | Self::Other => None,
        }
    }
}

impl Object {
    /// Whether there is such a key, even if it is null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    /// The value of a key; nothing if it is absent or null.
    pub(super) fn value(&mut self, key: &str) -> Option<Json> {
        let place = self.0.iter().position(|(known, _)| known == key)?;
        let value = self.0.swap_remove(place).1;
        (!matches!(value, Json::Null)).then_some(value)
    }

    /// The same, or the refusal.
    fn needed(&mut self, key: &str) -> Result<Json, Unfit> {
        self.value(key)
            .ok_or_else(|| Unfit::custom(format_args!("no `{key}`")))
    }

    /// A string; nothing if it is absent or null.
    pub(super) fn text_or_none(&mut self, key: &str) -> Result<Option<String>, Unfit> {
        match self.value(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(Json::Null | Json::Number(_) | Json::List(_) | Json::Object(_) | Json::Other) => {
                Err(unfit(key, "a string"))
            }
        }
    }

    /// A string.
    pub(super) fn text(&mut self, key: &str) -> Result<String, Unfit> {
        self.text_or_none(key)?.ok_or_else(|| unfit(key, "a string"))
    }

    /// A whole number; nothing if it is absent or null.
    pub(super) fn number_or_none<N: TryFrom<i128>>(&mut self, key: &str) -> Result<Option<N>, Unfit> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => value.number().map(Some).ok_or_else(|| unfit(key, NUMBER)),
        }
    }

    /// A whole number.
    pub(super) fn number<N: TryFrom<i128>>(&mut self, key: &str) -> Result<N, Unfit> {
        self.number_or_none(key)?.ok_or_else(|| unfit(key, NUMBER))
    }

    /// Whole numbers.
    pub(super) fn numbers<N: TryFrom<i128>>(&mut self, key: &str) -> Result<Vec<N>, Unfit> {
        let numbers = self.list(key)?.into_iter().map(|value| value.number());
        numbers.collect::<Option<_>>().ok_or_else(|| unfit(key, NUMBER))
    }

    /// An array.
    pub(super) fn list(&mut self, key: &str) -> Result<Vec<Json>, Unfit> {
        match self.needed(key)? {
            Json::List(list) => Ok(list),
            Json::Null | Json::Number(_) | Json::Text(_) | Json::Object(_) | Json::Other => {
                Err(unfit(key, "an array"))
            }
        }
    }

    /// Strings; none if the key is absent or null.
    pub(super) fn texts_if_any(&mut self, key: &str) -> Result<Vec<String>, Unfit> {
        let texts = match self.value(key) {
            None => return Ok(Vec::new()),
            Some(Json::List(list)) => list.into_iter().map(|value| match value {
                Json::Text(text) => Some(text),
                Json::Null | Json::Number(_) | Json::List(_) | Json::Object(_) | Json::Other => None,
            }),
            Some(Json::Null | Json::Number(_) | Json::Text(_) | Json::Object(_) | Json::Other) => {
                return Err(unfit(key, STRINGS));
            }
        };
        texts.collect::<Option<_>>().ok_or_else(|| unfit(key, STRINGS))
    }

    /// An object.
    pub(super) fn object(&mut self, key: &str) -> Result<Object, Unfit> {
        self.needed(key)?.object()
    }

    /// One of the words that are known.
    pub(super) fn word<T: Copy>(&mut self, key: &str, known: &[(&str, T)]) -> Result<T, Unfit> {
        self.word_or_none(key, known)?
            .ok_or_else(|| unfit(key, "a string"))
    }

    /// One of the words that are known; nothing if it is absent or null.
    pub(super) fn word_or_none<T: Copy>(
        &mut self,
        key: &str,
        known: &[(&str, T)],
    ) -> Result<Option<T>, Unfit> {
        let Some(said) = self.text_or_none(key)? else {
            return Ok(None);
        };
        let found = known.iter().find(|(word, _)| *word == said);
        found.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            let words = words.join(", ");
            Unfit::custom(format_args!("unknown {key} `{said}`, expected one of {words}"))
        })
    }

    /// Refuses what has not been taken.
    pub(super) fn end(self) -> Result<(), Unfit> {
        match self.0.first() {
            Some((key, _)) => Err(Unfit::custom(format_args!("unknown key `{key}`"))),
            None => Ok(()),
        }
    }
}

const STRINGS: &str = "an array of strings";
const NUMBER: &str = "a whole number in its bounds";

fn unfit(key: &str, expected: &str) -> Unfit {
    Unfit::custom(format_args!("`{key}` must be {expected}"))
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object: Vec<(String, Json)> = Vec::new();
        while let Some((key, value)) = entries.next_entry::<String, Json>()? {
            if object.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom(format_args!("`{key}` twice")));
            }
            object.push((key, value));
        }
        Ok(Json::Object(Object(object)))
    }
}
