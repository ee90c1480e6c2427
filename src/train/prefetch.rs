//! Batches gathered ahead: while one is worked on, a thread of its own reads the next from the memory map.

use super::error::Error;
use std::sync::mpsc::{channel, sync_channel};

/// Buffers in circulation: one worked on, one ready, one being filled.
const BUFFERS: usize = 3;

/// Hands `consume` what `gather` makes of each key, in their order. Buffers are used again, and hold whatever they held
/// before.
pub(super) fn prefetch<K: Sync, B: Default + Send>(
    keys: &[K],
    gather: impl Fn(&K, &mut B) + Send,
    mut consume: impl FnMut(usize, &B) -> Result<(), Error>,
) -> Result<(), Error> {
    std::thread::scope(|scope| {
        let (give_back, free) = channel::<B>();
        let (hand_over, ready) = sync_channel::<B>(BUFFERS);
        for _ in 0..BUFFERS.min(keys.len()) {
            let _ = give_back.send(B::default());
        }
        let ahead = move || {
            for key in keys {
                // Either end closes when the consumer has had enough.
                let Ok(mut buffer) = free.recv() else { return };
                gather(key, &mut buffer);
                if hand_over.send(buffer).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().spawn_scoped(scope, ahead).map_err(|e| Error::refused(e.to_string()))?;
        for i in 0..keys.len() {
            // Nothing comes only where gathering panicked; the scope passes that on.
            let Ok(buffer) = ready.recv() else { break };
            consume(i, &buffer)?;
            let _ = give_back.send(buffer);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_in_order_and_an_error_ends_the_gathering() {
        let keys: Vec<usize> = (0..50).collect();
        let mut seen = Vec::new();
        let gather = |key: &usize, buffer: &mut Vec<usize>| {
            buffer.clear();
            buffer.push(*key);
        };
        let all = prefetch(&keys, gather, |i, buffer| {
            assert_eq!(buffer, &[i]);
            seen.push(i);
            Ok(())
        });
        assert!(all.is_ok() && seen == keys);
        let stopped = prefetch(&keys, gather, |i, _| if i == 3 { Err(Error::Interrupted) } else { Ok(()) });
        assert!(matches!(stopped, Err(Error::Interrupted)));
        assert!(prefetch(&[], gather, |_, _| Ok(())).is_ok());
    }
}
