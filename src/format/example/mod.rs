//! tf.train.Example and tf.train.SequenceExample: which features a record has, and where their values go in a batch.
//!
//! A payload is one [protocol buffer message](https://protobuf.dev/programming-guides/encoding/), of one of two types,
//! as TensorFlow's `example.proto` and `feature.proto` give them:
//!
//! ```text
//!     Example          1: Features                          SequenceExample  1: Features (the context)
//!                                                                            2: FeatureLists
//!     Features         1: map name → Feature                FeatureLists     1: map name → FeatureList
//!     Feature          one of 1: BytesList                  FeatureList      1: repeated Feature, one a step
//!                             2: FloatList
//!                             3: Int64List                  each list        1: repeated value
//! ```
//!
//! On the wire a message is fields, each a tag (8 · number + wire type) and a value; an entry of a map is a message of
//! a field 1, the key, and a field 2, the value. One float feature `x` of two values and no more is
//!
//! ```text
//!     0A 13                          Example.features, 19 bytes
//!        0A 11                       an entry of the map, 17 bytes
//!           0A 01 78                 its key, "x"
//!           12 0C                    its value, a Feature of 12 bytes
//!              12 0A                 Feature.float_list, 10 bytes
//!                 0A 08 00 00 80 3F 00 00 00 40        packed: 1.0, 2.0, little-endian
//! ```
//!
//! Numbers may also be unpacked, a tag before each (`0D 00 00 80 3F 0D 00 00 00 40`), and the two may be mixed.
//!
//! # What repeats
//!
//! As everywhere in protocol buffers: a key that comes again in a map replaces the feature that came before; a message
//! field that comes again (two `features`, two `value`s in one entry, two `float_list`s in one feature) is merged with
//! the one before, so that lists run on; a list of another kind within a feature replaces the one before. Fields of
//! unknown numbers are skipped. Groups are refused, and so is a field of a known number and a wire type it cannot have,
//! which other readers skip as unknown: values would be lost in silence.
//!
//! # What becomes of a feature
//!
//! | in the record | [`FeatureKind`] | in the batch |
//! |---|---|---|
//! | numbers, as many as a shape has | [`FixedLen`](FeatureKind::FixedLen) | a tensor of that shape |
//! | one byte string | `FixedLen` of bytes, shape `[]` | a column of bytes |
//! | any number of numbers | [`VarLen`](FeatureKind::VarLen) | a ragged list |
//! | any number of byte strings | `VarLen` of bytes | bytes, end to end, and the ragged list of their lengths |
//! | a feature list, numbers of one shape a step | [`Sequence`](FeatureKind::Sequence) | a ragged list, the steps end to end |
//! | a feature list, byte strings of one shape a step | `Sequence` of bytes | bytes, end to end, and the ragged list of their lengths |
//! | a feature list, any number of numbers a step | `VarLen` | a ragged list, end to end, and the ragged list of the steps' lengths |
//!
//! The column of lengths is called like the feature with `/lengths` behind it. With it nothing is lost that a list of
//! byte strings (which no tensor holds) would say; what has no such form, steps with varying numbers of byte strings,
//! is `Unsupported`.
//!
//! A feature is *missing* if its key is not in the map, if it has none of the three lists, or if its list is empty.
//! What a `FixedLen` does then is its [`Missing`]; a `VarLen` is an empty list, and so is a missing feature list.
//!
//! Values go straight from the record to their places in the batch: there is no tree of messages in between, and a
//! record of up to 32 features is decoded without an allocation.
#![forbid(unsafe_code)]

mod decoder;
mod infer;
mod keys;
mod raw;
mod spec;
mod target;
mod types;
mod value;
mod wire;

pub(crate) use decoder::ExampleDecoder;
pub(crate) use infer::message_of;
pub(crate) use raw::RawDecoder;
pub use spec::{ExampleSpec, Feature, FeatureKind, FeaturePlace, Missing};
pub use types::{FeatureType, FeatureValues};

#[cfg(test)]
mod tests;
