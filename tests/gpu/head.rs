//! Heads on visual streams on the host engine, against the CPU's.

use super::host;
use super::svm::clusters;
use crate::support::numbers::{assert_close, assert_near, wide};
use unmute::device::Which;
use unmute::experiment::config::{Engine, Tsn};
use unmute::gpu::heads::{fits, train};
use unmute::train::Error;
use unmute::train::heads::Head;

/// A batch that does not divide the clips.
fn tsn() -> Tsn {
    Tsn { epochs: 3, batch: 24, lr: 0.01, weight_decay: 0.05 }
}

/// Mean frames of 130 clips and 40 more, and the classes of all.
fn clips() -> (Vec<f32>, Vec<usize>) {
    clusters(170, 19, 5)
}

fn head<'a>((x, labels): &'a (Vec<f32>, Vec<usize>), tsn: &'a Tsn) -> Head<'a> {
    let (train, val) = x.split_at(130 * 19);
    Head { stream: "rgb", train, labels: &labels[..130], val, classes: 5, tsn, seed: 3 }
}

#[test]
fn heads_are_the_cpus() {
    let Some(engine) = host::engine() else { return };
    let clips = clips();
    // Each matters: the penalty, the epochs, and a batch that all clips fit into.
    let longer = Tsn { epochs: 4, ..tsn() };
    let (free, whole) = (Tsn { weight_decay: 0.0, ..tsn() }, Tsn { batch: 500, ..tsn() });
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for tsn in [tsn(), longer, free, whole] {
        let mut ours = Vec::new();
        let mut told = |done, total| {
            ours.push((done, total));
            Ok(())
        };
        let trained = train(&*engine, &head(&clips, &tsn), &mut told).unwrap();
        for &engine in Engine::ALL {
            let mut theirs = Vec::new();
            let mut told = |done, total| {
                theirs.push((done, total));
                Ok(())
            };
            let cpu = Which::Cpu.open().unwrap();
            let expected = cpu.head(&head(&clips, &tsn), engine, &mut told).unwrap();
            assert_eq!(ours, theirs);
            assert_close("probabilities", &trained.probabilities, &wide(&expected.probabilities), 1e-4);
            assert_close("weights", &trained.weights, &wide(&expected.weights), 1e-4);
            assert_near("loss", trained.loss, expected.loss, 1e-5);
        }
        let p = trained.probabilities;
        assert!(seen.iter().all(|other| p.iter().zip(other).any(|(p, o)| (p - o).abs() > 1e-3)));
        seen.push(p);
    }
}

#[test]
fn a_head_that_diverges_says_so_when_the_epoch_ends_and_one_that_is_stopped_stops() {
    let Some(engine) = host::engine() else { return };
    let (clips, wild) = (clips(), Tsn { lr: 1e30, ..tsn() });
    let mut steps = 0;
    let mut count = |_, _| {
        steps += 1;
        Ok(())
    };
    match train(&*engine, &head(&clips, &wild), &mut count) {
        Err(Error::Diverged { epoch: 1, value, lr: 1e30, .. }) => assert!(!value.is_finite()),
        other => panic!("{other:?}"),
    }
    assert_eq!(steps, 6, "all of the first epoch");
    let stopped = |done, _| if done == 8 { Err(Error::Interrupted) } else { Ok(()) };
    assert!(matches!(train(&*engine, &head(&clips, &tsn()), &mut { stopped }), Err(Error::Interrupted)));
}

#[test]
fn a_head_is_on_the_device_where_its_mean_frames_fit() {
    let (clips, tsn) = (clips(), tsn());
    let bytes = clips.0.len() as u64 * 4;
    assert!(!fits(&head(&clips, &tsn), bytes) && fits(&head(&clips, &tsn), 10 * bytes));
}
