//! Offline runs of Weights & Biases, as its client writes them without a network, for `wandb sync`.
//!
//! A run is a folder with one file: seven bytes of header, then protocol buffers in the framing of LevelDB's log. That log is
//! cut into blocks of 32 KiB; a record that does not fit into what is left of one goes on in the next. The messages are those
//! of `wandb_internal.proto`, whose field numbers stand beside them here.

use super::super::portable::protobuf::Message;
use super::tracker::{Tracked, Tracker, replace};
use crate::store::{State, timestamp};
use serde_json::Value;
use std::path::Path;

pub(super) struct OfflineRuns;

/// Bytes of a block, and of what stands before each piece of a record.
const BLOCK: usize = 32 << 10;
const HEAD: usize = 7;

impl Tracker for OfflineRuns {
    fn write(&self, run: &Tracked, folder: &Path) -> std::io::Result<()> {
        let id = &run.run.id;
        let began: String = timestamp(run.began as i64, 0).chars().filter(char::is_ascii_digit).collect();
        let (day, time) = began.split_at_checked(8).unwrap_or((&began, ""));
        let time = time.get(..6).unwrap_or(time);
        replace(&folder.join(format!("offline-run-{day}_{time}-{id}")), |new| {
            std::fs::create_dir(new.join("files"))?;
            std::fs::write(new.join(format!("run-{id}.wandb")), log(&records(run)))
        })
    }

    fn next(&self, folder: &Path) -> String {
        format!("wandb sync {}/offline-run-*", folder.display())
    }
}

/// What is said of a run, in order: who wrote it, what it is, its epochs, its final numbers, and how it ended.
fn records(run: &Tracked) -> Vec<Message> {
    let producer = concat!("unmute ", env!("CARGO_PKG_VERSION"));
    let version = Message::default().text(1, producer).text(2, "0.0.1");
    let mut bodies = vec![(21, Message::default().message(1, &version)), (17, described(run))];
    let mut epochs: Vec<i64> =
        run.curves.iter().flat_map(|(_, points)| points.iter().map(|(epoch, _)| *epoch)).collect();
    epochs.sort_unstable();
    epochs.dedup();
    for epoch in epochs {
        let time = run.time_of(epoch);
        let mut row: Vec<(&str, Value)> =
            vec![("_step", epoch.into()), ("_timestamp", time.into()), ("_runtime", (time - run.began).into())];
        for (name, points) in &run.curves {
            let of_epoch = points.iter().find(|(at, _)| *at == epoch);
            row.extend(of_epoch.map(|(_, value)| (name.as_str(), Value::from(*value))));
        }
        // Names of a history are lists of one name each; dots in them mean nothing.
        let items = row.iter().map(|(name, value)| Message::default().text(2, name).text(16, &value.to_string()));
        let history = items.fold(Message::default(), |all, item| all.message(1, &item));
        bodies.push((2, history.message(2, &Message::default().int(1, epoch))));
    }
    let mut last: Vec<(&str, Value)> =
        run.finals.iter().map(|(name, value)| (name.as_str(), (*value).into())).collect();
    last.push(("_runtime", (run.ended - run.began).into()));
    for (name, points) in &run.curves {
        last.extend(points.last().map(|(_, value)| (name.as_str(), Value::from(*value))));
    }
    bodies.push((3, updates(last.into_iter())));
    let code = match run.run.state {
        State::Done => Some(0),
        State::Failed | State::Interrupted => Some(1),
        // It has not ended.
        State::Running | State::Pending => None,
    };
    bodies.extend(code.map(|code| (18, Message::default().int(1, code))));
    let number =
        |(i, (field, body)): (usize, &(u32, Message))| Message::default().int(1, i as i64 + 1).message(*field, body);
    bodies.iter().enumerate().map(number).collect()
}

/// A `RunRecord`.
fn described(run: &Tracked) -> Message {
    let params = run.params.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let explained = run.tags.iter().filter(|(name, _)| name.starts_with("unmute."));
    let config = updates(params.chain(explained.map(|(name, value)| (name.as_str(), value.as_str().into()))));
    let mut message = Message::default().text(1, &run.run.id).text(3, &run.experiment).message(4, &config);
    // Seeds of a cell are a group.
    message = message.text(6, &run.run.key).text(7, &run.run.kind).text(8, &run.name);
    if !run.run.notes.is_empty() {
        message = message.text(9, &run.run.notes.join("\n\n"));
    }
    for tag in &run.run.tags {
        message = message.text(10, tag);
    }
    if let Some(host) = &run.run.host {
        message = message.text(13, host);
    }
    let (seconds, part) = (run.began.floor(), run.began - run.began.floor());
    message.message(17, &Message::default().int(1, seconds as i64).int(2, (part * 1e9) as i64))
}

/// Names with their values in JSON, as a `ConfigRecord` and a `SummaryRecord` have them.
fn updates<'a>(items: impl Iterator<Item = (&'a str, Value)>) -> Message {
    let item = |(name, value): (&str, Value)| Message::default().text(1, name).text(16, &value.to_string());
    items.map(item).fold(Message::default(), |all, item| all.message(1, &item))
}

/// The file: its header, and the records in blocks.
fn log(records: &[Message]) -> Vec<u8> {
    // The name of the format, the lower half of a checksum of their name, and the version.
    let mut out = b":W&B\xe1\xbe\x00".to_vec();
    for record in records {
        let (mut rest, mut first) = (&record.0[..], true);
        loop {
            let left = BLOCK - out.len() % BLOCK;
            if left < HEAD {
                out.resize(out.len() + left, 0);
                continue;
            }
            let (piece, after) = rest.split_at(rest.len().min(left - HEAD));
            // Whole, first, in the middle, last.
            let kind: u8 = match (first, after.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            let mut sum = flate2::Crc::new();
            sum.update(&[kind]);
            sum.update(piece);
            out.extend(sum.sum().to_le_bytes());
            out.extend((piece.len() as u16).to_le_bytes());
            out.push(kind);
            out.extend(piece);
            if after.is_empty() {
                break;
            }
            (rest, first) = (after, false);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a file, put together again.
    fn read(bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut at, mut records, mut open) = (HEAD, Vec::new(), None::<Vec<u8>>);
        while at < bytes.len() {
            let left = BLOCK - at % BLOCK;
            if left < HEAD {
                assert!(bytes[at..at + left].iter().all(|b| *b == 0));
                at += left;
                continue;
            }
            let length = u16::from_le_bytes(bytes[at + 4..at + 6].try_into().unwrap()) as usize;
            assert!(HEAD + length <= left, "a piece stays in its block");
            let (kind, data) = (bytes[at + 6], &bytes[at + HEAD..at + HEAD + length]);
            let mut sum = flate2::Crc::new();
            sum.update(&[kind]);
            sum.update(data);
            assert_eq!(bytes[at..at + 4], sum.sum().to_le_bytes());
            assert_eq!(open.is_none(), kind == 1 || kind == 2);
            open.get_or_insert_default().extend(data);
            if kind == 1 || kind == 4 {
                records.extend(open.take());
            }
            at += HEAD + length;
        }
        assert!(open.is_none());
        records
    }

    #[test]
    fn records_of_any_length_are_read_back_from_their_blocks() {
        // The second ends so that nothing, then too little for a head, then exactly a head is left of the block.
        for left in [0, 1, 6, 7, 8] {
            let lengths = [100, BLOCK - HEAD - (HEAD + 100) - HEAD - left, 5, 3 * BLOCK, 1];
            let records: Vec<Message> = lengths.iter().map(|n| Message(vec![7; *n])).collect();
            let read = read(&log(&records));
            assert_eq!(read, records.into_iter().map(|m| m.0).collect::<Vec<_>>(), "{left}");
        }
    }

    #[test]
    fn a_run_is_told_from_its_description_to_its_end() {
        let run = super::super::tracker::example();
        let records = read(&log(&records(&run)));
        // Header, run, two epochs, summary, exit.
        assert_eq!(records.len(), 6);
        let has = |record: usize, text: &str| records[record].windows(text.len()).any(|w| w == text.as_bytes());
        assert!(has(1, "vggish/lstm/l2/with seed 3") && has(1, "train.lr") && has(1, "good") && has(1, "so far"));
        assert!(has(2, "train/loss") && has(3, "val/accuracy") && has(4, "top1/silent") && has(4, "30.0"));
    }

    #[test]
    fn a_run_has_a_folder_of_its_own_named_by_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let run = super::super::tracker::example();
        for _ in 0..2 {
            OfflineRuns.write(&run, dir.path()).unwrap();
        }
        let id = "0123456789abcdef0123456789abcdef";
        let folder = dir.path().join(format!("offline-run-20260101_000001-{id}"));
        assert!(std::fs::read(folder.join(format!("run-{id}.wandb"))).unwrap().starts_with(b":W&B"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
