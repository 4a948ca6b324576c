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

mod features;

pub(crate) use features::{SCHEMA_KEY, class_names, joined, renamed};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::named;
use crate::error::{Error, Result};

/// The file that makes a folder a saved dataset.
pub(crate) const STATE: &str = "state.json";

/// The file that makes a folder a dictionary of saved datasets.
pub(crate) const DICT: &str = "dataset_dict.json";

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

#[cfg(test)]
mod tests;
