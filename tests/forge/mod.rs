//! Parquet files written byte by byte, so that they can lie.

pub const INT32: i64 = 1;
pub const BYTE_ARRAY: i64 = 6;

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A struct of Thrift's compact protocol: the fields so far. Fields are written with their numbers in full.
#[derive(Default)]
pub struct Thrift(pub Vec<u8>);

impl Thrift {
    fn field(mut self, number: i16, kind: u8, value: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend(varint(2 * number as u64));
        self.0.extend(value);
        self
    }

    fn integer(value: i64) -> Vec<u8> {
        varint((value << 1 ^ value >> 63) as u64)
    }

    pub fn i32(self, number: i16, value: i64) -> Self {
        self.field(number, 5, &Self::integer(value))
    }

    pub fn i64(self, number: i16, value: i64) -> Self {
        self.field(number, 6, &Self::integer(value))
    }

    pub fn binary(self, number: i16, value: &[u8]) -> Self {
        self.field(number, 8, &[&varint(value.len() as u64), value].concat())
    }

    pub fn list_head(self, number: i16, kind: u8, count: u64) -> Self {
        self.field(number, 9, &[vec![0xF0 | kind], varint(count)].concat())
    }

    pub fn structs(self, number: i16, structs: &[Vec<u8>]) -> Self {
        let mut list = self.list_head(number, 12, structs.len() as u64);
        list.0.extend(structs.concat());
        list
    }

    fn names(self, number: i16, name: &str) -> Self {
        let mut list = self.list_head(number, 8, 1);
        list.0.extend([&varint(name.len() as u64), name.as_bytes()].concat());
        list
    }

    fn encodings(self, number: i16) -> Self {
        let mut list = self.list_head(number, 5, 1);
        list.0.extend(Self::integer(0));
        list
    }

    fn inner(self, number: i16, inner: &[u8]) -> Self {
        self.field(number, 12, inner)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.push(0);
        self.0
    }
}

/// A page: its header as it is told, and its body.
pub struct Page {
    kind: i64,
    num_values: i32,
    encoding: i64,
    pub stored: i32,
    pub inflated: i32,
    pub crc: Option<i32>,
    body: Vec<u8>,
}

impl Page {
    fn new(kind: i64, num_values: i32, encoding: i64, body: Vec<u8>) -> Self {
        let len = body.len() as i32;
        Page { kind, num_values, encoding, stored: len, inflated: len, crc: None, body }
    }

    pub fn data(num_values: i32, encoding: i64, body: Vec<u8>) -> Self {
        Page::new(0, num_values, encoding, body)
    }

    pub fn dictionary(num_values: i32, body: Vec<u8>) -> Self {
        Page::new(2, num_values, 0, body)
    }

    pub fn inflating_to(mut self, bytes: i32) -> Self {
        self.inflated = bytes;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let header =
            Thrift::default().i32(1, self.kind).i32(2, self.inflated.into()).i32(3, self.stored.into());
        let header = match self.crc {
            Some(crc) => header.i32(4, crc.into()),
            None => header,
        };
        let inner = Thrift::default().i32(1, self.num_values.into()).i32(2, self.encoding);
        let header = match self.kind {
            0 => header.inner(5, &inner.i32(3, 3).i32(4, 3).end()),
            _ => header.inner(7, &inner.end()),
        };
        [header.end(), self.body.clone()].concat()
    }
}

/// A column of one column chunk: what the footer says of it, and its pages.
pub struct Column {
    name: &'static str,
    physical: i64,
    codec: i64,
    pub repeated: bool,
    pub num_values: i64,
    pub offset: Option<i64>,
    pub encrypted: bool,
    pub file: Option<&'static str>,
    pages: Vec<Page>,
}

impl Column {
    pub fn new(name: &'static str, physical: i64, pages: Vec<Page>) -> Self {
        let num_values =
            pages.iter().filter(|page| page.kind == 0).map(|page| i64::from(page.num_values)).sum();
        Column {
            name,
            physical,
            codec: 0,
            repeated: false,
            num_values,
            offset: None,
            encrypted: false,
            file: None,
            pages,
        }
    }

    pub fn compressed(mut self, codec: i64) -> Self {
        self.codec = codec;
        self
    }
}

/// A file of one row group.
pub fn file(columns: &[Column], rows: i64) -> Vec<u8> {
    let root = Thrift::default().binary(4, b"root").i32(5, columns.len() as i64).end();
    let leaf = |column: &Column| {
        let repetition = if column.repeated { 2 } else { 0 };
        Thrift::default().i32(1, column.physical).i32(3, repetition).binary(4, column.name.as_bytes()).end()
    };
    let schema: Vec<_> = std::iter::once(root).chain(columns.iter().map(leaf)).collect();
    let mut body = Vec::new();
    let mut chunks = Vec::new();
    for column in columns {
        let at = 4 + body.len() as i64;
        column.pages.iter().for_each(|page| body.extend(page.bytes()));
        let bytes = 4 + body.len() as i64 - at;
        let metadata = Thrift::default()
            .i32(1, column.physical)
            .encodings(2)
            .names(3, column.name)
            .i32(4, column.codec)
            .i64(5, column.num_values)
            .i64(6, bytes)
            .i64(7, bytes)
            .i64(9, column.offset.unwrap_or(at))
            .end();
        let chunk = match column.file {
            Some(file) => Thrift::default().binary(1, file.as_bytes()),
            None => Thrift::default(),
        };
        let chunk = chunk.i64(2, at).inner(3, &metadata);
        let chunk = if column.encrypted { chunk.inner(8, &[0]) } else { chunk };
        chunks.push(chunk.end());
    }
    let group = Thrift::default().structs(1, &chunks).i64(2, body.len() as i64).i64(3, rows).end();
    let footer = Thrift::default().i32(1, 1).structs(2, &schema).i64(3, rows).structs(4, &[group]).end();
    framed(&body, &footer)
}

/// Pages and a footer between their magics.
pub fn framed(body: &[u8], footer: &[u8]) -> Vec<u8> {
    [b"PAR1", body, footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}
