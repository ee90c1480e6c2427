//! Protocol buffers, as far as graphs and event files need them: fields are appended to a message.

/// A message that is being written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::runs) struct Message(pub Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A field of an integer; negative ones take ten bytes.
    pub fn int(mut self, field: u32, value: i64) -> Message {
        self.varint(u64::from(field) << 3);
        self.varint(value as u64);
        self
    }

    /// A field of a 32-bit float.
    pub fn float(mut self, field: u32, value: f32) -> Message {
        self.varint((u64::from(field) << 3) | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A field of a 64-bit float.
    pub fn double(mut self, field: u32, value: f64) -> Message {
        self.varint((u64::from(field) << 3) | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A field of bytes.
    pub fn bytes(mut self, field: u32, bytes: &[u8]) -> Message {
        self.varint((u64::from(field) << 3) | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    /// A field of text.
    pub fn text(self, field: u32, text: &str) -> Message {
        self.bytes(field, text.as_bytes())
    }

    /// A field of a message.
    pub fn message(self, field: u32, message: &Message) -> Message {
        self.bytes(field, &message.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's description.
    #[test]
    fn fields_are_written_as_described() {
        assert_eq!(Message::default().int(1, 150).0, [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().text(2, "testing").0, b"\x12\x07testing");
        assert_eq!(Message::default().message(3, &Message::default().int(1, 150)).0, [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::default().float(2, 1.0).0, [0x15, 0, 0, 0x80, 0x3f]);
        assert_eq!(Message::default().double(1, 1.0).0, [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    }
}
