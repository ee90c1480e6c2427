//! TensorBoard's event files: records of a length, its checksum, a protocol buffer and that one's checksum.
//!
//! Numbers are scalars by epoch; parameters and final numbers are those of the HPARAMS page; tags and notes are texts.

use super::super::portable::protobuf::Message;
use super::tracker::{Tracked, Tracker, plain, replace};
use crate::store::State;
use serde_json::Value;
use std::path::Path;

pub(super) struct EventFiles;

impl Tracker for EventFiles {
    fn write(&self, run: &Tracked, folder: &Path) -> std::io::Result<()> {
        let short = run.run.id.get(..12).unwrap_or(&run.run.id);
        let safe = |c: char| if c.is_alphanumeric() || "-_.,=".contains(c) { c } else { '_' };
        let name: String = run.name.chars().map(safe).take(120).collect();
        replace(&folder.join(format!("{name}.{short}")), |new| {
            let file = format!("events.out.tfevents.{:010}.unmute", run.began.max(0.0) as u64);
            std::fs::write(new.join(file), events(run))
        })
    }

    fn next(&self, folder: &Path) -> String {
        format!("tensorboard --logdir {}", folder.display())
    }
}

/// The whole file.
fn events(run: &Tracked) -> Vec<u8> {
    let mut out = Vec::new();
    record(&mut out, &Message::default().double(1, run.began).text(3, "brain.Event:2"));
    let mut add = |time: f64, step: i64, value: Message| {
        let summary = Message::default().message(1, &value);
        record(&mut out, &Message::default().double(1, time).int(2, step).message(5, &summary));
    };
    add(run.began, 0, hparams("_hparams_/session_start_info", 3, &session_start(run)));
    for (name, points) in &run.curves {
        for (epoch, value) in points {
            add(run.time_of(*epoch), *epoch, scalar(name, *value));
        }
    }
    for (name, value) in &run.finals {
        add(run.ended, run.epochs as i64, scalar(&format!("final/{name}"), *value));
    }
    let mut words: Vec<(&str, String)> = Vec::new();
    if !run.run.tags.is_empty() {
        words.push(("tags", run.run.tags.join(" ")));
    }
    if !run.run.notes.is_empty() {
        words.push(("notes", run.run.notes.join("\n\n")));
    }
    for (name, text) in words {
        add(run.ended, 0, text_value(name, &text));
    }
    // 1: success, 2: failure, 3: running.
    let status = match run.run.state {
        State::Done => 1,
        State::Failed | State::Interrupted => 2,
        State::Running | State::Pending => 3,
    };
    let end = Message::default().int(1, status).double(2, run.ended);
    add(run.ended, 0, hparams("_hparams_/session_end_info", 4, &end));
    out
}

/// A single number.
fn scalar(tag: &str, value: f64) -> Message {
    Message::default().text(1, tag).float(2, value as f32)
}

/// A text, as the TEXT page reads it.
fn text_value(tag: &str, text: &str) -> Message {
    // dtype 7: string; no axis.
    let tensor = Message::default().int(1, 7).message(2, &Message::default()).text(8, text);
    let plugin = Message::default().text(1, "text");
    Message::default().text(1, tag).message(9, &Message::default().message(1, &plugin)).message(8, &tensor)
}

/// What the HPARAMS page reads; `field` says which of its messages it is.
fn hparams(tag: &str, field: u32, message: &Message) -> Message {
    let data = Message::default().int(1, 0).message(field, message);
    let plugin = Message::default().text(1, "hparams").bytes(2, &data.0);
    // An empty list of floats: the value itself means nothing.
    let none = Message::default().message(2, &Message::default().int(1, 0));
    let tensor = Message::default().int(1, 1).message(2, &none);
    Message::default().text(1, tag).message(9, &Message::default().message(1, &plugin)).message(8, &tensor)
}

/// Parameters by name, and the group that runs of one cell share.
fn session_start(run: &Tracked) -> Message {
    let mut message = Message::default();
    for (name, value) in &run.params {
        let value = match value {
            Value::Number(n) => Message::default().double(2, n.as_f64().unwrap_or(f64::NAN)),
            Value::Bool(b) => Message::default().int(4, i64::from(*b)),
            other => Message::default().text(3, &plain(other)),
        };
        message = message.message(1, &Message::default().text(1, name).message(2, &value));
    }
    message.text(4, &run.name).double(5, run.began)
}

/// A record: length, its checksum, bytes, theirs.
fn record(out: &mut Vec<u8>, event: &Message) {
    let length = (event.0.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(crc32c(&length)).to_le_bytes());
    out.extend(&event.0);
    out.extend(masked(crc32c(&event.0)).to_le_bytes());
}

/// A checksum of data that holds checksums is turned, so that the two are not alike.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected, as RFC 3720 has it.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, b: &u8| TABLE[((crc ^ u32::from(*b)) & 0xff) as usize] ^ (crc >> 8);
    !bytes.iter().fold(!0, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    #[test]
    fn every_record_has_the_length_and_checksums_that_it_says() {
        let bytes = events(&super::super::tracker::example());
        let (mut at, mut records) = (0, Vec::new());
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            assert_eq!(u32_at(at + 8), masked(crc32c(&bytes[at..at + 8])));
            let data = &bytes[at + 12..at + 12 + length];
            assert_eq!(u32_at(at + 12 + length), masked(crc32c(data)));
            records.push(data.to_vec());
            at += 16 + length;
        }
        // Version, session begin, 2 splits x 4 quantities x 2 epochs, 2 finals, tags, notes, session end.
        assert_eq!(records.len(), 2 + 16 + 2 + 2 + 1);
        assert!(records[0].ends_with(b"brain.Event:2"));
        let has = |text: &[u8]| records.iter().any(|r| r.windows(text.len()).any(|w| w == text));
        assert!(has(b"train/loss") && has(b"final/top1/silent") && has(b"train.lr") && has(b"good"));
    }

    #[test]
    fn a_run_has_a_folder_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        EventFiles.write(&super::super::tracker::example(), dir.path()).unwrap();
        let name = "vggish_lstm_l2_with_seed_3.0123456789ab/events.out.tfevents.1767225601.unmute";
        assert!(dir.path().join(name).is_file());
    }
}
