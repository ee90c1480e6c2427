//! Adam (Kingma and Ba, 2015), with bias correction and weight decay.

use crate::simd;

/// Weight decay of [`AdamConfig`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightDecay {
    /// An L2 penalty: added to the gradient.
    L2(f64),
    /// Beside the gradient (AdamW).
    Decoupled(f64),
}

/// The optimiser's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decays of the moments.
    pub betas: [f64; 2],
    /// Guard against division by zero.
    pub eps: f64,
    /// Weight decay, if any.
    pub decay: Option<WeightDecay>,
}

/// The constants of one step of Adam.
pub(super) struct Adam {
    lr: f32,
    betas: [f32; 2],
    /// 1 / (1 - beta^t).
    corrections: [f32; 2],
    eps: f32,
    /// Weight decay that enters the gradient, and that which does not, times the rate.
    decay: [f32; 2],
}

impl Adam {
    pub(super) fn new(config: &AdamConfig, step: i32) -> Adam {
        let betas = config.betas.map(|b| b as f32);
        let decay = match config.decay {
            Some(WeightDecay::L2(decay)) => [decay as f32, 0.0],
            Some(WeightDecay::Decoupled(decay)) => [0.0, (decay * config.lr) as f32],
            None => [0.0, 0.0],
        };
        let corrections = betas.map(|b| (1.0 - b.powi(step)).recip());
        Adam { lr: config.lr as f32, betas, corrections, eps: config.eps as f32, decay }
    }

    /// m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, p -= lr m' / (sqrt(v') + eps), with m' and v' corrected for their
    /// start at zero, and with the decays. In the order of dfdx's kernel, so that both give the same bits.
    pub(super) fn update(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let ([b1, b2], [c1, c2], [into, beside]) = (self.betas, self.corrections, self.decay);
        simd::vectorise(
            #[inline(always)]
            || {
                for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v.iter_mut())) {
                    let g = g + into * *p;
                    *m = *m * b1 + g * (1.0 - b1);
                    *v = *v * b2 + g * g * (1.0 - b2);
                    *p -= self.lr * (*m * c1) / ((*v * c2).sqrt() + self.eps) + beside * *p;
                }
            },
        );
    }
}
