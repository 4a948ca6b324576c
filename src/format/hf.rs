//! Folders that Hugging Face's `datasets` saved: what their JSON files say of the Arrow files beside them.
//!
//! ```text
//!     saved/                             saved/                     a dictionary of splits
//!       state.json                         dataset_dict.json        {"splits": ["train", "test"]}
//!       dataset_info.json                  train/                   each a saved dataset of its own
//!       data-00000-of-00002.arrow            state.json …
//!       data-00001-of-00002.arrow          test/
//!                                            state.json …
//!
//!     state.json           {"_data_files": [{"filename": "data-00000-of-00002.arrow"}, …],
//!                           "_indices_data_files": null, "_split": "train", …}
//!     dataset_info.json    {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}, …}, …}
//! ```
//!
//! The rows are those of the data files, Arrow IPC streams, in the order of the list. Where there are indices files
//! (older versions wrote them for a dataset that was shuffled or selected from), their one column of u64 says which
//! of those rows the dataset is, in which order. A column of class labels holds numbers; the names of the classes are
//! in its feature.
//!
//! Deliberately absent: formats and columns that a view of the dataset was restricted to (`_format_columns` and the
//! like), which are how it was looked at, not what it is.
//!
//! Source: [`Dataset.save_to_disk`] and `DatasetDict.save_to_disk` of the library.
//!
//! [`Dataset.save_to_disk`]: https://huggingface.co/docs/datasets/package_reference/main_classes
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::named;
use crate::error::{Error, Result};

/// The file that makes a folder a saved dataset.
pub(crate) const STATE: &str = "state.json";

/// The file that makes a folder a dictionary of saved datasets.
pub(crate) const DICT: &str = "dataset_dict.json";

/// The key of an Arrow schema's metadata that holds the same features.
pub(crate) const SCHEMA_KEY: &str = "huggingface";

/// The longest JSON text that is read, many times what the library writes for 20,000 classes.
const JSON_BYTES_MAX: usize = 8 << 20;

/// What `state.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedDataset {
    /// The Arrow streams of the rows, in order, relative to the folder.
    pub(crate) data_files: Vec<String>,
    /// The Arrow streams of the indices, in order; where there are none, the rows are those of the data files.
    pub(crate) indices_files: Vec<String>,
}

/// The classes of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassNames {
    pub(crate) column: String,
    /// The name of class `i` is `names[i]`.
    pub(crate) names: Vec<String>,
}

/// Reads the text of `state.json`.
///
/// # Errors
///
/// `Malformed` for text that is no such JSON, for a dataset of no files, and for names that lead out of the folder.
pub(crate) fn saved_dataset(state: &[u8]) -> Result<SavedDataset> {
    #[derive(Deserialize)]
    struct State {
        #[serde(rename = "_data_files")]
        data_files: Vec<DataFile>,
        #[serde(rename = "_indices_data_files", alias = "_indices_files")]
        indices_files: Option<Vec<DataFile>>,
    }
    #[derive(Deserialize)]
    struct DataFile {
        filename: String,
    }
    let names = |files: Vec<DataFile>| {
        let checked = |file: DataFile| named::check(&file.filename).map(|()| file.filename);
        files.into_iter().map(checked).collect::<Result<Vec<_>>>()
    };
    let State { data_files, indices_files } = json(STATE, state)?;
    if data_files.is_empty() {
        return Err(Error::malformed("expected the data files of a saved dataset, found none in its list"));
    }
    Ok(SavedDataset {
        data_files: names(data_files)?,
        indices_files: names(indices_files.unwrap_or_default())?,
    })
}

/// The names of the splits, in order, of the text of `dataset_dict.json`. Each is also the name of its folder.
///
/// # Errors
///
/// `Malformed` for text that is no such JSON, for no splits, for the same one twice, and for names that lead out of the
/// folder.
pub(crate) fn splits(dict: &[u8]) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Dict {
        splits: Vec<String>,
    }
    let Dict { splits } = json(DICT, dict)?;
    if splits.is_empty() {
        return Err(Error::malformed("expected the splits of a saved dataset, found none in its list"));
    }
    splits.iter().try_for_each(|split| named::check(split))?;
    let mut sorted: Vec<_> = splits.iter().collect();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::malformed(format!("expected each split once, found '{}' twice", twice[0])));
    }
    Ok(splits)
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

fn json<T: DeserializeOwned>(name: &str, text: &[u8]) -> Result<T> {
    if text.len() > JSON_BYTES_MAX {
        return Err(Error::malformed(format!(
            "expected a {name} of at most {JSON_BYTES_MAX} bytes, found {}",
            text.len()
        )));
    }
    serde_json::from_slice(text).map_err(|e| {
        Error::malformed(format!("expected the {name} of a saved dataset, found other text: {e}"))
            .with_source(e)
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::real;
    use proptest::prelude::*;

    const SAVED: &str = r#"{"_data_files": [{"filename": "a.arrow"}, {"filename": "b/c.arrow", "x": 1}],
        "_fingerprint": "0", "_format_columns": ["x"], "_format_kwargs": {"a": [{}]},
        "_indices_data_files": [{"filename": "indices.arrow"}], "_split": "train"}"#;

    #[test]
    fn a_state_lists_its_files_in_order() {
        let saved = saved_dataset(SAVED.as_bytes()).unwrap();
        assert_eq!(saved.data_files, ["a.arrow", "b/c.arrow"]);
        assert_eq!(saved.indices_files, ["indices.arrow"]);
        let saved =
            saved_dataset(br#"{"_data_files": [{"filename": "a"}], "_indices_data_files": null}"#).unwrap();
        assert!(saved.indices_files.is_empty());
    }

    #[test]
    fn names_that_lead_out_of_the_folder_are_malformed() {
        for name in ["../a", "/a", ""] {
            for key in ["_data_files", "_indices_data_files"] {
                let good = r#"[{"filename": "a"}]"#;
                let bad = format!(r#"[{{"filename": "{name}"}}]"#);
                let (data, indices) = if key == "_data_files" { (&*bad, good) } else { (good, &*bad) };
                let state = format!(r#"{{"_data_files": {data}, "_indices_data_files": {indices}}}"#);
                assert_eq!(
                    saved_dataset(state.as_bytes()).unwrap_err().kind(),
                    ErrorKind::Malformed,
                    "{state}"
                );
            }
            assert!(splits(format!(r#"{{"splits": ["train", "{name}"]}}"#).as_bytes()).is_err());
        }
        assert_eq!(splits(br#"{"splits": ["b", "a"]}"#).unwrap(), ["b", "a"]);
        for dict in [r#"{"splits": []}"#, r#"{"splits": ["a", "b", "a"]}"#, "{}", r#"{"splits": null}"#] {
            assert_eq!(splits(dict.as_bytes()).unwrap_err().kind(), ErrorKind::Malformed, "{dict}");
        }
        assert!(saved_dataset(br#"{"_data_files": []}"#).is_err());
    }

    #[test]
    fn class_labels_are_found_among_features_of_any_shape() {
        let info = r#"{"features": {
            "z": {"names": ["no", "yes"], "_type": "ClassLabel"},
            "text": {"dtype": "string", "_type": "Value"},
            "tags": {"feature": {"names": ["a"], "_type": "ClassLabel"}, "length": -1, "_type": "Sequence"},
            "old": [{"_type": "ClassLabel", "names": ["b"]}, 7],
            "unnamed": {"num_classes": 2, "names": null, "_type": "ClassLabel"},
            "odd": {"names": ["a", 1], "_type": "ClassLabel"},
            "nested": {"names": {"dtype": "int64", "_type": "Value"}, "_type": {"names": ["x"], "_type": "ClassLabel"}},
            "deep": {"feature": {"feature": {"names": ["x"], "_type": "ClassLabel"}}},
            "list": [1.5, [], {}, true, null, "text", -3], "texts": ["a"], "number": 3}, "splits": {"train": {}}}"#;
        let of = |column: &str, names: &[&str]| ClassNames {
            column: column.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        };
        let expected = [of("z", &["no", "yes"]), of("tags", &["a"]), of("old", &["b"])];
        assert_eq!(class_names(info.as_bytes()).unwrap(), expected);
        assert_eq!(
            class_names(format!(r#"{{"info": {info}, "fingerprint": "0"}}"#).as_bytes()).unwrap(),
            expected
        );
        for none in ["{}", r#"{"features": null}"#, r#"{"info": null}"#, r#"{"info": {}}"#] {
            assert_eq!(class_names(none.as_bytes()).unwrap(), [], "{none}");
        }
        assert_eq!(class_names(br#"{"features": 3}"#).unwrap_err().kind(), ErrorKind::Malformed);
    }

    #[test]
    fn features_are_renamed_and_joined_and_all_else_stays() {
        let features = r#"{"a":{"names":["no","yes"],"_type":"ClassLabel"},"b":{"dtype":"f"}}"#;
        for (before, after) in
            [(r#"{"features":"#, r#","z":[1,{}]}"#), (r#"{"info":{"features":"#, r#","x":1},"z":[1]}"#)]
        {
            let info = format!("{before}{features}{after}");
            let with_c = renamed(&info, "a", "c");
            assert_eq!(renamed(&with_c, "c", "a"), info);
            assert_eq!(class_names(with_c.as_bytes()).unwrap()[0].column, "c");
            assert_eq!(renamed(&info, "none", "d"), info);
            let both = joined(&info, r#"{"features":{"a":{},"y":{"names":["n"],"_type":"ClassLabel"}}}"#);
            let names: Vec<_> =
                class_names(both.as_bytes()).unwrap().into_iter().map(|c| c.names.join(" ")).collect();
            assert_eq!(names, ["no yes", "n"]);
            assert_eq!(joined(&info, "{}"), info);
        }
        for text in ["", "{}", "[", r#"{"features": 3}"#, r#"{"info": {"info": {"features": {}}}}"#] {
            assert_eq!((renamed(text, "a", "b"), joined(text, SAVED)), (text.to_owned(), text.to_owned()));
        }
    }

    #[test]
    fn text_cut_anywhere_or_nested_without_end_is_malformed() {
        let text = SAVED.as_bytes();
        for len in 0..text.len() {
            assert_eq!(saved_dataset(&text[..len]).unwrap_err().kind(), ErrorKind::Malformed, "cut at {len}");
        }
        for bracket in ["[", r#"{"feature":"#, r#"{"x":"#] {
            let deep = format!(r#"{{"features": {{"a": {}"#, bracket.repeat(100_000));
            assert_eq!(class_names(deep.as_bytes()).unwrap_err().kind(), ErrorKind::Malformed);
        }
        let long = vec![b' '; JSON_BYTES_MAX + 1];
        assert!(saved_dataset(&long).is_err() && splits(&long).is_err() && class_names(&long).is_err());
    }

    proptest! {
        #[test]
        fn damaged_text_never_panics(flips in prop::collection::vec((0..SAVED.len(), 0..8u8), 1..6)) {
            let mut text = SAVED.as_bytes().to_vec();
            for (at, bit) in flips {
                text[at] ^= 1 << bit;
            }
            let _ = (saved_dataset(&text), splits(&text), class_names(&text));
        }
    }

    #[test]
    fn real_folders_say_what_was_saved() {
        let Some((folder, expected)) = real::expected("hf/housing_dict/") else { return };
        let names = splits(&std::fs::read(folder.join(DICT)).unwrap()).unwrap();
        assert_eq!(names, ["train", "test"]);
        for split in names {
            let state = std::fs::read(folder.join(&split).join(STATE)).unwrap();
            let saved = saved_dataset(&state).unwrap();
            assert_eq!(saved.data_files.len() as u64, expected["shards"][&split].as_u64().unwrap());
            assert!(saved.data_files.iter().all(|file| folder.join(&split).join(file).is_file()));
            let classes =
                class_names(&std::fs::read(folder.join(&split).join("dataset_info.json")).unwrap()).unwrap();
            assert_eq!((classes.len(), classes[0].column.as_str()), (1, "ocean_proximity"));
            assert_eq!(serde_json::json!(classes[0].names), expected["class_names"]);
        }
        let folder = folder.parent().unwrap().join("trec_train");
        let saved = saved_dataset(&std::fs::read(folder.join(STATE)).unwrap()).unwrap();
        assert_eq!(saved.data_files.len(), 1);
        let classes = class_names(&std::fs::read(folder.join("dataset_info.json")).unwrap()).unwrap();
        let counts: Vec<_> = classes.iter().map(|c| (c.column.as_str(), c.names.len())).collect();
        assert_eq!(counts, [("coarse_label", 6), ("fine_label", 50)]);
    }
}
