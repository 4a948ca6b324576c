//! JSON as the library writes it, as it might, cut and flipped; and the real folders.
#![forbid(unsafe_code)]

use super::features::ClassNames;
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
            assert_eq!(saved_dataset(state.as_bytes()).unwrap_err().kind(), ErrorKind::Malformed, "{state}");
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
