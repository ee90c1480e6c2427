//! Names and layouts of PyTorch's `state_dict`.
//!
//! A layer x W + b with W (inputs, outputs) is `NAME.weight` (outputs, inputs) and `NAME.bias`, as in `nn.Linear`. The LSTM is
//! `lstm.weight_ih_l0` (4H, D), `lstm.weight_hh_l0` (4H, H), `lstm.bias_ih_l0` and `lstm.bias_hh_l0`, gates i, f, g, o, as in
//! `nn.LSTM`; we have a single bias, so the second one is zero. A layer norm's gain is its `weight`. Scales are buffers:
//! `input_mean`, `input_inverse_sd`, `target_mean`, `target_inverse_sd`: x' = (x - mean) inverse_sd. `examples/pytorch` has the
//! modules that take them with `load_state_dict(strict=True)`.

use super::{Error, Portable, Tensor, Weights, tensor, transposed};

/// The tensors of a `state_dict`.
pub fn state_dict(of: &Portable) -> Result<Vec<Tensor>, Error> {
    match of {
        Portable::Network(weights) => network(weights),
        Portable::Bank(bank, _) => {
            let width = bank.scale.width() + 1;
            let classes = bank.weights.len() / width;
            let rows = || bank.weights.chunks_exact(width);
            let weight = rows().flat_map(|row| row[..width - 1].to_vec()).collect();
            let mut all = vec![
                Tensor::matrix("svm.weight", width - 1, weight),
                Tensor::vector("svm.bias", rows().map(|row| row[width - 1]).collect()),
                Tensor::vector("input_mean", bank.scale.mean.clone()),
                Tensor::vector("input_inverse_sd", bank.scale.inverse_sd.clone()),
            ];
            if bank.sigmoids.len() == classes {
                all.push(Tensor::vector("platt_a", bank.sigmoids.iter().map(|s| s.a as f32).collect()));
                all.push(Tensor::vector("platt_b", bank.sigmoids.iter().map(|s| s.b as f32).collect()));
            }
            Ok(all)
        }
    }
}

fn network(weights: &Weights) -> Result<Vec<Tensor>, Error> {
    let mut all = Vec::new();
    for name in &weights.description.params {
        let param = tensor(weights, name)?;
        let flat = |to: String| Tensor::vector(to, param.values.clone());
        let turned = |to: &str| Tensor { name: to.into(), ..transposed(param) };
        match (name.as_str(), name.rsplit_once('.')) {
            ("lstm.w", _) => all.push(turned("lstm.weight_ih_l0")),
            ("lstm.u", _) => all.push(turned("lstm.weight_hh_l0")),
            ("lstm.b", _) => {
                all.push(flat("lstm.bias_ih_l0".into()));
                all.push(Tensor::vector("lstm.bias_hh_l0", vec![0.0; param.values.len()]));
            }
            (_, Some((layer, "w"))) => all.push(turned(&format!("{layer}.weight"))),
            (_, Some((layer, "g"))) => all.push(flat(format!("{layer}.weight"))),
            (_, Some((layer, "b"))) => all.push(flat(format!("{layer}.bias"))),
            _ => all.push(param.clone()),
        }
    }
    let scales = weights.tensors.iter().filter(|t| !weights.description.params.contains(&t.name));
    all.extend(scales.map(|t| Tensor { name: t.name.replace('.', "_"), ..t.clone() }));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::transposed;
    use super::*;

    #[test]
    fn matrices_are_turned() {
        let t = transposed(&Tensor::matrix("x", 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!((t.shape, t.values), (vec![3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    }
}
