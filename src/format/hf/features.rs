//! The features of a saved dataset, as they stand in `dataset_info.json` and in a schema's metadata: the names of classes.
//!
//! ```text
//!     {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}, …}, …}                 dataset_info.json
//!     {"info": {"features": {…}, …}, …}                                                              metadata of a schema
//! ```
//!
//! Where a column gets another name, so does its feature: whoever reads the schema later, this crate or the library, finds
//! the two under one name.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{JSON_BYTES_MAX, json};
use crate::error::Result;

/// The key of an Arrow schema's metadata that holds the same features.
pub(crate) const SCHEMA_KEY: &str = "huggingface";

/// The classes of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassNames {
    pub(crate) column: String,
    /// The name of class `i` is `names[i]`.
    pub(crate) names: Vec<String>,
}

/// The columns of class labels, or of lists of them, and the names of their classes, in the order of the text: that of
/// `dataset_info.json`, or of the schema's [metadata](SCHEMA_KEY).
///
/// # Errors
///
/// `Malformed` for text that is no such JSON.
pub(crate) fn class_names(info: &[u8]) -> Result<Vec<ClassNames>> {
    #[derive(Deserialize)]
    struct Info {
        #[serde(default)]
        features: Option<Features>,
        #[serde(default)]
        info: Option<Inner>,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(default)]
        features: Option<Features>,
    }
    let info: Info = json(SCHEMA_KEY, info)?;
    let features = info.features.or(info.info.and_then(|inner| inner.features));
    Ok(features.map_or_else(Vec::new, |Features(classes)| classes))
}

/// The text `info`, as [`class_names`] reads it, with its feature `from` called `to`. Text that does not say what the
/// features are, or has none of that name, stays as it is.
pub(crate) fn renamed(info: &str, from: &str, to: &str) -> String {
    let rename = |features: &mut Members| {
        if let Some(feature) = features.remove(from) {
            features.insert(to.to_owned(), feature);
        }
    };
    edited(info, rename).unwrap_or_else(|| info.to_owned())
}

/// The text `info`, as [`class_names`] reads it, with the features of `other` that it has none of the name of.
pub(crate) fn joined(info: &str, other: &str) -> String {
    let mut more = Members::new();
    if edited(other, |theirs| more = theirs.clone()).is_none() {
        return info.to_owned();
    }
    let join = |features: &mut Members| {
        for (name, feature) in more {
            features.entry(name).or_insert(feature);
        }
    };
    edited(info, join).unwrap_or_else(|| info.to_owned())
}

/// What a JSON object holds, as text.
type Members = BTreeMap<String, Box<RawValue>>;

/// The text `info` with its features changed; `None` where it does not say what they are.
fn edited(info: &str, change: impl FnOnce(&mut Members)) -> Option<String> {
    if info.len() > JSON_BYTES_MAX {
        return None;
    }
    let mut members: Members = serde_json::from_str(info).ok()?;
    let (key, text) = match (members.get("features"), members.get("info")) {
        (Some(features), _) => {
            let mut features: Members = serde_json::from_str(features.get()).ok()?;
            change(&mut features);
            ("features", serde_json::to_string(&features).ok()?)
        }
        // One level down, as in a schema's metadata; no deeper, whatever the text says.
        (None, Some(inner)) => {
            let mut inner: Members = serde_json::from_str(inner.get()).ok()?;
            let mut features: Members = serde_json::from_str(inner.get("features")?.get()).ok()?;
            change(&mut features);
            inner.insert("features".to_owned(), serde_json::value::to_raw_value(&features).ok()?);
            ("info", serde_json::to_string(&inner).ok()?)
        }
        (None, None) => return None,
    };
    members.insert(key.to_owned(), RawValue::from_string(text).ok()?);
    serde_json::to_string(&members).ok()
}

/// The columns of class labels among the features. What else a feature may be is passed over, whatever its shape.
struct Features(Vec<ClassNames>);

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;
        impl<'de> Visitor<'de> for OfMap {
            type Value = Features;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of features")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Features, A::Error> {
                let mut classes = Vec::new();
                while let Some(column) = map.next_key::<String>()? {
                    if let Some(names) = map.next_value::<Node>()?.class_names() {
                        classes.push(ClassNames { column, names });
                    }
                }
                Ok(Features(classes))
            }
        }
        deserializer.deserialize_map(OfMap)
    }
}

/// What matters here of any JSON value.
enum Node {
    Text(String),
    /// A list of nothing but strings.
    Texts(Vec<String>),
    /// A map, or a list whose first item is one.
    Feature {
        is_class_label: bool,
        names: Option<Vec<String>>,
        /// The feature of a list's items.
        item: Option<Box<Node>>,
    },
    Other,
}

impl Node {
    /// The names of the classes, if this is a feature of class labels or of lists of them.
    fn class_names(self) -> Option<Vec<String>> {
        match self {
            Node::Feature { is_class_label: true, names, .. } => names,
            Node::Feature { item: Some(item), .. } => match *item {
                Node::Feature { is_class_label: true, names, .. } => names,
                _ => None,
            },
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfAny)
    }
}

struct OfAny;

macro_rules! others {
    ($($visit:ident: $value:ty),*) => {$(
        fn $visit<E>(self, _: $value) -> Result<Node, E> {
            Ok(Node::Other)
        }
    )*};
}

impl<'de> Visitor<'de> for OfAny {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    others!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut texts = Vec::new();
        while let Some(item) = list.next_element::<Node>()? {
            let item = match item {
                Node::Text(text) => {
                    texts.push(text);
                    continue;
                }
                Node::Feature { .. } if texts.is_empty() => Some(Box::new(item)),
                _ => None,
            };
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Node::Feature { is_class_label: false, names: None, item });
        }
        Ok(Node::Texts(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let (mut is_class_label, mut names, mut item) = (false, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "_type" => {
                    is_class_label = matches!(map.next_value()?, Node::Text(kind) if kind == "ClassLabel")
                }
                "names" => match map.next_value()? {
                    Node::Texts(texts) => names = Some(texts),
                    _ => names = None,
                },
                "feature" => item = Some(Box::new(map.next_value()?)),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Node::Feature { is_class_label, names, item })
    }
}
