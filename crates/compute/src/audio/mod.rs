//! What audio networks take for input: log-mel patches of VGGish and YAMNet, HTK's filter banks of AENet, and what
//! VGGish makes of its output.

mod fft;
pub mod htk;
pub mod mel;
pub mod vggish;
pub mod waveform;
